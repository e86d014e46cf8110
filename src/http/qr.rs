//! A QR code as one SVG path.

use std::fmt::Write as _;

use fast_qr::{ECL, QRBuilder};

/// Four modules of quiet zone, as the standard asks.
const MARGIN: usize = 4;

/// Empty when the text is too long for any QR code.
pub(super) fn svg(text: &str) -> String {
    let Ok(code) = QRBuilder::new(text).ecl(ECL::M).build() else { return String::new() };
    let side = code.size + 2 * MARGIN;
    let mut path = String::new();
    for row in 0..code.size {
        for column in (0..code.size).filter(|column| code[row][*column].value()) {
            let _ = write!(path, "M{} {}h1v1h-1z", column + MARGIN, row + MARGIN);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR code\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    )
}
