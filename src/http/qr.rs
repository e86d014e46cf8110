//! QR codes: a bitmap in a `data:` URL for our own pages, an SVG for pages of others.

use std::fmt::Write as _;

use askama::Template as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fast_qr::{ECL, QRBuilder, QRCode};

/// Modules of quiet zone on each side, as ISO/IEC 18004 requires.
const QUIET_ZONE: usize = 4;
/// Texts longer than this many bytes use the lowest level of error correction: on a screen, larger modules help a
/// camera more than redundancy does.
const MAX_LEN_WITH_MEDIUM_ECC: usize = 320;

fn encode(text: &str) -> Option<QRCode> {
    let level = if text.len() > MAX_LEN_WITH_MEDIUM_ECC { ECL::L } else { ECL::M };
    QRBuilder::new(text).ecl(level).build().ok()
}

/// The code in block characters, for a terminal. `None` when the text is too long.
pub fn terminal(text: &str) -> Option<String> {
    Some(encode(text)?.to_str())
}

/// A `data:` URL of a BMP with one bit per module: a fifth of the SVG's size. `None` when the text is too long for a QR
/// code.
pub fn bmp_data_url(text: &str) -> Option<String> {
    let code = encode(text)?;
    let side = code.size + 2 * QUIET_ZONE;
    let row_bytes = side.div_ceil(32) * 4;
    let word = |number: usize| u32::try_from(number).expect("a QR code has at most 177 modules a side").to_le_bytes();
    let head = 62;
    // File header, then BITMAPINFOHEADER of one plane and one bit a pixel, then the palette: white, black.
    let mut file = Vec::with_capacity(head + row_bytes * side);
    file.extend_from_slice(b"BM");
    for field in [head + row_bytes * side, 0, head, 40, side, side] {
        file.extend(word(field));
    }
    file.extend([1, 0, 1, 0]);
    for field in [0, row_bytes * side, 0, 0, 2, 2, 0x00ff_ffff, 0] {
        file.extend(word(field));
    }
    for row in (0..side).rev() {
        let mut bits = vec![0; row_bytes];
        for column in 0..code.size {
            let dark = row.checked_sub(QUIET_ZONE).is_some_and(|row| row < code.size && code[row][column].value());
            bits[(column + QUIET_ZONE) / 8] |= u8::from(dark) << (7 - (column + QUIET_ZONE) % 8);
        }
        file.extend(bits);
    }
    Some(format!("data:image/bmp;base64,{}", STANDARD.encode(file)))
}

#[derive(askama::Template)]
#[template(
    ext = "html",
    source = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {{ side }} {{ side }}\" role=\"img\" aria-label=\"{{ label }}\" \
              shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{{ side }}v{{ side }}h-{{ side }}z\"/>\
              <path stroke=\"#000\" d=\"{{ path }}\"/></svg>"
)]
struct Svg<'a> {
    side: usize,
    label: &'a str,
    path: String,
}

/// An SVG with `label` as its accessible name. Each horizontal run of dark modules is one stroke, which keeps it small.
/// `None` when the text is too long for a QR code.
pub fn svg(text: &str, label: &str) -> Option<String> {
    let code = encode(text)?;
    let mut path = String::new();
    for row in 0..code.size {
        let _ = write!(path, "M{QUIET_ZONE} {}.5", row + QUIET_ZONE);
        let mut column = 0;
        while column < code.size {
            let dark = code[row][column].value();
            let end = (column..code.size).find(|at| code[row][*at].value() != dark).unwrap_or(code.size);
            let _ = match (dark, end - column) {
                (true, run) => write!(path, "h{run}"),
                (false, _) if end == code.size => Ok(()),
                (false, run) => write!(path, "m{run} 0"),
            };
            column = end;
        }
    }
    let svg = Svg { side: code.size + 2 * QUIET_ZONE, label, path };
    Some(svg.render().expect("a compiled template of plain values renders"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks each module; a test with a browser shows that cameras can read it.
    #[test]
    fn the_bitmap_holds_the_modules_of_the_code() {
        for text in ["x", &"long ".repeat(80)] {
            let code = encode(text).unwrap();
            let file =
                STANDARD.decode(bmp_data_url(text).unwrap().strip_prefix("data:image/bmp;base64,").unwrap()).unwrap();
            let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            let (side, start) = (number(18), number(10));
            assert_eq!((number(2), number(22), side), (file.len(), side, code.size + 8));
            let row_bytes = (file.len() - start) / side;
            let dark = |row: usize, column: usize| {
                file[start + (side - 1 - row) * row_bytes + column / 8] & (0x80 >> (column % 8)) != 0
            };
            for row in 0..side {
                for column in 0..side {
                    let within = |at: usize| (4..side - 4).contains(&at);
                    let expected = within(row) && within(column) && code[row - 4][column - 4].value();
                    assert_eq!(dark(row, column), expected, "{row} {column}");
                }
            }
        }
        assert_eq!(bmp_data_url(&"x".repeat(3000)), None);
    }
}
