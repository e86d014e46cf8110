//! The appearance of an instance's pages.

use std::{fmt, fs, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use url::Url;

use crate::{domain::redirect, reader::Reader};

/// In bytes. The logo is embedded in the page, which has to stay small.
const LARGEST_LOGO: usize = 7 * 1024;

/// The operator's branding.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// Shown instead of the request's name.
    pub name: Option<String>,
    pub color: Color,
    pub logo: Option<Logo>,
    /// The app's own page, to which every page that ends a login leads back.
    pub home_url: Option<Url>,
    /// Where a person who cannot or does not want to use WhatsApp signs in, unless the request says it.
    pub other_way_url: Option<Url>,
}

/// An image as a `data:` URL.
#[derive(Clone)]
pub struct Logo(String);

impl Logo {
    pub fn url(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logo({} bytes)", self.0.len())
    }
}

/// An opaque sRGB color.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Color([u8; 3]);

impl Default for Color {
    /// Green, the same color as in `default.toml`.
    fn default() -> Self {
        Self([0x0b, 0x7a, 0x4b])
    }
}

impl Color {
    /// The relative luminance as defined by WCAG.
    fn luminance(self) -> f64 {
        let linear = self.0.map(|channel| {
            let c = f64::from(channel) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    /// Black or white, whichever has the higher contrast with this color. That contrast always meets WCAG AA.
    pub fn ink(self) -> &'static str {
        let luminance = self.luminance();
        let (on_white, on_black) = (1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05);
        if on_white >= on_black { "#fff" } else { "#000" }
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl FromStr for Color {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('#').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or(())?;
        let number = u32::from_str_radix(digits, 16).map_err(|_| ())?;
        match digits.len() {
            6 => {
                let [_, r, g, b] = number.to_be_bytes();
                Ok(Self([r, g, b]))
            }
            3 => {
                let nibble = |shift: u32| u8::try_from((number >> shift) & 15).expect("four bits") * 17;
                Ok(Self([nibble(8), nibble(4), nibble(0)]))
            }
            _ => Err(()),
        }
    }
}

impl PageConfig {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        Self {
            name: s.text("name"),
            color: s.parsed("color", "a color such as #0b7a4b").unwrap_or_default(),
            logo: s.read("logo_file", logo),
            home_url: s.read("home_url", web_url),
            other_way_url: s.read("other_way_url", web_url),
        }
    }
}

fn web_url(text: &str) -> Result<Url, &'static str> {
    redirect::parse(text).ok_or("expected an https:// or http:// URL without credentials")
}

fn logo(file: &str) -> Result<Logo, String> {
    let bytes = fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    if bytes.len() > LARGEST_LOGO {
        return Err(format!("{file} has {} bytes; at most {LARGEST_LOGO} fit into the page", bytes.len()));
    }
    let media = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        text if std::str::from_utf8(text).is_ok_and(|text| text.contains("<svg")) => "image/svg+xml",
        _ => return Err(format!("{file} is no PNG, JPEG, WebP or SVG")),
    };
    Ok(Logo(format!("data:{media};base64,{}", STANDARD.encode(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_color_the_button_can_be_read() {
        for text in ["#000", "#ffffff", "#0b7a4b", "#777777", "#ffcc00", "#1877f2"] {
            let color: Color = text.parse().unwrap();
            let ink: Color = color.ink().parse().unwrap();
            let (a, b) = (color.luminance() + 0.05, ink.luminance() + 0.05);
            assert!(a.max(b) / a.min(b) >= 4.5, "{text}");
        }
        assert_eq!("#fC0".parse::<Color>().unwrap().to_string(), "#ffcc00");
        for bad in ["", "#", "fc0", "#ff", "#fffff", "#+12", "#ggg", "red;}"] {
            assert!(bad.parse::<Color>().is_err(), "{bad}");
        }
    }
}
