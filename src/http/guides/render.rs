//! Renders a guide as HTML, and splits it into sections for the search.

use std::collections::HashSet;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::http::contract::highlight;

/// A rendered guide.
pub(super) struct RenderedGuide {
    pub(super) html: String,
    pub(super) sections: Vec<Section>,
}

/// A heading and the text below it, up to the next heading.
pub(super) struct Section {
    /// The heading's anchor; empty for the title.
    pub(super) anchor: String,
    pub(super) title: String,
    pub(super) level: HeadingLevel,
    /// Without markup.
    pub(super) text: String,
}

/// Renders trusted Markdown: the guides are part of the program, so raw HTML in them is kept.
pub(super) fn render(source: &str) -> RenderedGuide {
    let events: Vec<Event<'_>> = Parser::new_ext(source, Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS).collect();
    let mut anchors = HashSet::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut out: Vec<Event<'_>> = Vec::with_capacity(events.len());
    let mut code: Option<String> = None;
    let mut tables = 0;
    // Within a group of blocks that are shown as tabs.
    let mut in_tabs = false;
    for (index, event) in events.iter().enumerate() {
        if let (Some(section), Some(text)) = (sections.last_mut(), visible_text(event)) {
            section.text.push_str(text);
        }
        if let (Some(code), Event::Text(text)) = (&mut code, event) {
            code.push_str(text);
            continue;
        }
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let title = heading_text(&events[index + 1..]);
                let anchor =
                    if *level == HeadingLevel::H1 { String::new() } else { unique_anchor(&title, &mut anchors) };
                out.push(Event::Html(if anchor.is_empty() {
                    "<h1>".into()
                } else {
                    format!("<{level} id=\"{anchor}\">").into()
                }));
                sections.push(Section { anchor, title, level: *level, text: String::new() });
            }
            Event::End(TagEnd::Heading(level)) => out.push(Event::Html(format!("</{level}>\n").into())),
            Event::Start(Tag::CodeBlock(kind)) => {
                let info = CodeInfo::of(kind);
                let mut html = String::new();
                if let Some(tab) = info.tab {
                    if !in_tabs {
                        html.push_str("<div class=\"samples\" role=\"group\" aria-label=\"Samples\">\n");
                    }
                    html.push_str("<div data-sample=\"");
                    highlight::escape(tab, &mut html);
                    html.push_str("\"><p class=\"label\">");
                    highlight::escape(tab, &mut html);
                    html.push_str("</p>");
                }
                in_tabs = info.tab.is_some();
                html.push_str("<pre tabindex=\"0\"><code data-language=\"");
                highlight::escape(info.language, &mut html);
                html.push_str("\">");
                out.push(Event::Html(html.into()));
                code = Some(String::new());
            }
            Event::End(TagEnd::CodeBlock) => {
                let text = code.take().unwrap_or_default();
                let mut html = format!("{}</code></pre>", highlight::html(text.trim_end()));
                if in_tabs {
                    html.push_str("</div>");
                    let next = events.get(index + 1).and_then(|next| match next {
                        Event::Start(Tag::CodeBlock(kind)) => CodeInfo::of(kind).tab,
                        _ => None,
                    });
                    if next.is_none() {
                        html.push_str("\n</div>");
                        in_tabs = false;
                    }
                }
                html.push('\n');
                out.push(Event::Html(html.into()));
            }
            // Wide tables scroll on their own; `tabindex` makes that reachable by keyboard.
            Event::Start(Tag::Table(_)) => {
                let title = sections.last().map_or("", |section| section.title.as_str());
                tables += 1;
                let mut label = String::new();
                highlight::escape(&format!("Table {tables}: {title}"), &mut label);
                out.push(Event::Html(
                    format!("<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"{label}\">").into(),
                ));
                out.push(event.clone());
            }
            Event::End(TagEnd::Table) => {
                out.push(event.clone());
                out.push(Event::Html("</div>\n".into()));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => out.push(Event::Start(Tag::Link {
                link_type: *link_type,
                dest_url: link_target(dest_url),
                title: title.clone(),
                id: id.clone(),
            })),
            // A static page has no state to tick: the box is decoration.
            Event::TaskListMarker(_) => out.push(Event::Html("<span aria-hidden=\"true\">☐ </span>".into())),
            event => out.push(event.clone()),
        }
    }
    let mut rendered = String::with_capacity(source.len() * 2);
    html::push_html(&mut rendered, out.into_iter());
    RenderedGuide { html: rendered, sections }
}

/// The first line of a fenced block: the language, and `tab=NAME` for one of several blocks in a row that are shown as
/// tabs.
struct CodeInfo<'a> {
    language: &'a str,
    tab: Option<&'a str>,
}

impl<'a> CodeInfo<'a> {
    fn of(kind: &'a CodeBlockKind<'_>) -> Self {
        let CodeBlockKind::Fenced(info) = kind else { return Self { language: "", tab: None } };
        let mut words = info.split_whitespace();
        Self { language: words.next().unwrap_or_default(), tab: words.find_map(|word| word.strip_prefix("tab=")) }
    }
}

/// The visible text of an event.
fn visible_text<'a>(event: &'a Event<'_>) -> Option<&'a str> {
    match event {
        Event::Text(text) | Event::Code(text) => Some(text),
        Event::SoftBreak | Event::HardBreak | Event::End(TagEnd::TableCell | TagEnd::Paragraph | TagEnd::Item) => {
            Some(" ")
        }
        _ => None,
    }
}

/// The text of a heading; `events` begins inside it.
fn heading_text(events: &[Event<'_>]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    inside.filter_map(visible_text).collect()
}

/// A unique anchor in the format of code forges, so that links work there, too: lower case, dashes for spaces, without
/// punctuation, numbered if taken.
fn unique_anchor(title: &str, taken: &mut HashSet<String>) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
    let numbered = (1..).map(|number| format!("{anchor}-{number}"));
    let free = std::iter::once(anchor.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(anchor);
    taken.insert(free.clone());
    free
}

/// Links to other guides point to files in the source (`limits.md`); on the site they point to pages (`limits`).
fn link_target<'a>(url: &CowStr<'a>) -> CowStr<'a> {
    let (path, anchor) = url.split_once('#').map_or((url.as_ref(), None), |(path, anchor)| (path, Some(anchor)));
    match (path.strip_suffix(".md"), anchor) {
        (Some(slug), Some(anchor)) if !slug.contains(':') => format!("{slug}#{anchor}").into(),
        (Some(slug), None) if !slug.contains(':') => slug.to_owned().into(),
        _ => url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_anchors_and_sections_their_text() {
        let rendered = render("# Title\n\nLead.\n\n## `redeem` it, twice\n\nText *here*.\n\n## `redeem` it, twice\n");
        assert!(rendered.html.contains("<h2 id=\"redeem-it-twice\"><code>redeem</code> it, twice</h2>"));
        assert!(rendered.html.contains("<h2 id=\"redeem-it-twice-1\">"), "{}", rendered.html);
        let titles: Vec<&str> = rendered.sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(titles, ["Title", "redeem it, twice", "redeem it, twice"]);
        assert!(rendered.sections[1].text.contains("Text here."), "{}", rendered.sections[1].text);
    }

    #[test]
    fn blocks_in_a_row_with_tabs_are_one_group() {
        let html =
            render("```js tab=Express file=a.mjs\n1\n```\n\n```py tab=Django\n2\n```\n\ntext\n\n```sh\n3\n```\n").html;
        assert_eq!((html.matches("class=\"samples\"").count(), html.matches("data-sample").count()), (1, 2), "{html}");
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count(), "{html}");
        let (group, rest) = html.split_once("<p>text</p>").unwrap();
        assert!(group.contains("data-sample=\"Express\"") && group.contains("data-language=\"py\""), "{html}");
        assert!(!rest.contains("data-sample"), "{html}");
    }

    #[test]
    fn links_between_files_become_links_between_pages() {
        let html = render("[a](limits.md) [b](limits.md#codes) [c](https://x.example/a.md) [d](../docs#redeem)").html;
        for link in ["\"limits\"", "\"limits#codes\"", "\"https://x.example/a.md\"", "\"../docs#redeem\""] {
            assert!(html.contains(link), "{link}: {html}");
        }
    }

    #[test]
    fn code_is_escaped_and_can_be_reached_by_keyboard() {
        let html = render("```sh\ncurl <url> # \"a\"\n```\n").html;
        assert!(html.contains("<pre tabindex=\"0\"><code data-language=\"sh\">"), "{html}");
        assert!(html.contains("&lt;url&gt;") && !html.contains("<url>"), "{html}");
    }
}
