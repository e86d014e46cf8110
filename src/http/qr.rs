//! A QR code as one SVG path.

use std::fmt::Write as _;

use askama::Template as _;
use fast_qr::{ECL, QRBuilder};

/// Four modules of quiet zone, as the standard asks.
const MARGIN: usize = 4;

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

/// Empty when the text is too long for any QR code. Each run of dark modules is one stroke, which keeps it small.
pub(super) fn svg(text: &str, label: &str) -> String {
    let Ok(code) = QRBuilder::new(text).ecl(ECL::M).build() else { return String::new() };
    let mut path = String::new();
    for row in 0..code.size {
        let _ = write!(path, "M{MARGIN} {}.5", row + MARGIN);
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
    let svg = Svg { side: code.size + 2 * MARGIN, label, path };
    svg.render().expect("a compiled template of plain values renders")
}
