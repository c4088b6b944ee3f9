//! The page for people: one file with everything in it, no script and nothing fetched.
//!
//! Lives here: which parts the page has, and their words. Must not live here: drawing (see [`charts`]).

mod charts;

use super::budgets::Verdict;
use super::contestant::Contestant;
use super::figures::{Figure, all_ratios, rank, show_ratio, title};
use super::rounds::Operation;
use super::series::Quantity;
use super::{callers, live, together};
use serde_json::Value;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page/style.css");

/// The page.
pub(crate) fn page(
    report: &Value,
    contestants: &[Contestant],
    figures: &[Figure<'_>],
    verdicts: &[Verdict],
) -> String {
    let mut body = String::new();
    head(&mut body, report, contestants);
    promises(&mut body, verdicts);
    bars(&mut body, figures);
    lines(&mut body, figures);
    table(&mut body, figures);
    notes(&mut body, report);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Container runtimes side by side</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n"
    )
}

/// Text as it may stand in an element or in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Writing to a String does not fail.
fn put(body: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = body.write_fmt(text);
    body.push('\n');
}

fn head(body: &mut String, report: &Value, contestants: &[Contestant]) {
    let host = &report["host"];
    let word = |value: &Value| escape(value.as_str().unwrap_or("unknown"));
    let memory = host["memory_kib"].as_u64().unwrap_or(0) / (1024 * 1024);
    put(
        body,
        format_args!("<header><h1>Container runtimes side by side</h1>"),
    );
    put(
        body,
        format_args!(
            "<p class=\"facts\">{} &middot; {} cores &middot; {memory} GiB &middot; Linux {} &middot; cgroup {} &middot; load {} \
             before, {} after &middot; {} rounds, order rotating</p>",
            word(&host["cpu"]),
            host["cores"],
            word(&host["kernel"]),
            word(&host["cgroup"]),
            word(&host["load_at_begin"]),
            word(&host["load_at_end"]),
            report["rounds"]
        ),
    );
    put(body, format_args!("<ul class=\"key\">"));
    for who in contestants_in_order(contestants) {
        put(
            body,
            format_args!(
                "<li><span class=\"dot {}\"></span><b>{}</b> {}</li>",
                charts::class(&who.name),
                escape(&who.name),
                escape(who.version())
            ),
        );
    }
    put(body, format_args!("</ul></header>"));
}

/// The rounds leave them rotated.
fn contestants_in_order(contestants: &[Contestant]) -> Vec<&Contestant> {
    let mut all: Vec<&Contestant> = contestants.iter().collect();
    all.sort_by(|left, right| rank(&left.name).cmp(&rank(&right.name)));
    all
}

fn promises(body: &mut String, verdicts: &[Verdict]) {
    put(body, format_args!("<section><h2>Budgets</h2>"));
    put(
        body,
        format_args!(
            "<div class=\"wide\"><table><thead><tr><th>Budget</th><th class=\"n\">At most</th><th class=\"n\">Measured (95&nbsp;%)</th><th></th></tr></thead><tbody>"
        ),
    );
    for verdict in verdicts {
        let (word, measured) = verdict.words();
        let class = if verdict.is_kept() { "kept" } else { "missed" };
        put(
            body,
            format_args!(
                "<tr><td>{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td><td><span class=\"{class}\">{}</span></td></tr>",
                escape(&verdict.subject()),
                verdict.budget.at_most,
                escape(&measured),
                escape(&word.to_lowercase())
            ),
        );
    }
    put(body, format_args!("</tbody></table></div></section>"));
}

/// A heading and a card for each row of the quantities that has no points.
fn bars(body: &mut String, figures: &[Figure<'_>]) {
    for (heading, quantities) in [
        ("Time", &[Quantity::Time][..]),
        ("Peak memory", &[Quantity::Peak]),
        (
            "Anonymous memory of the command at its end",
            &[Quantity::Anonymous],
        ),
        (
            "What stays, and what is enough",
            &[Quantity::Resident, Quantity::Limit, Quantity::Size],
        ),
    ] {
        let of_them: Vec<&Figure<'_>> = figures
            .iter()
            .filter(|one| one.series.at.is_none() && quantities.contains(&one.series.quantity))
            .collect();
        if of_them.is_empty() {
            continue;
        }
        put(
            body,
            format_args!("<section><h2>{heading}</h2><div class=\"grid\">"),
        );
        for (row, group) in groups(&of_them) {
            let about = Operation::ALL
                .iter()
                .find(|one| one.name() == row)
                .map_or("", |one| one.about());
            put(
                body,
                format_args!(
                    "<figure><figcaption><b>{}</b> <small>{}</small></figcaption>{}</figure>",
                    escape(row),
                    escape(about),
                    charts::bars(&group)
                ),
            );
        }
        put(body, format_args!("</div></section>"));
    }
}

/// Figures by row and quantity, in the order in which rows came.
fn groups<'a>(figures: &[&'a Figure<'a>]) -> Vec<(&'a str, Vec<&'a Figure<'a>>)> {
    let mut groups: Vec<(&str, Vec<&Figure<'_>>)> = Vec::new();
    for figure in figures {
        let (row, quantity) = (figure.series.row.as_str(), figure.series.quantity);
        let known = groups
            .iter_mut()
            .find(|(name, group)| *name == row && group.iter().all(|one| one.series.quantity == quantity));
        match known {
            Some((_, group)) => group.push(figure),
            None => groups.push((row, vec![figure])),
        }
    }
    groups
}

fn lines(body: &mut String, figures: &[Figure<'_>]) {
    let drawn: Vec<&Figure<'_>> = figures.iter().filter(|one| one.series.at.is_some()).collect();
    if drawn.is_empty() {
        return;
    }
    put(
        body,
        format_args!("<section><h2>Against what grows</h2><div class=\"grid broad\">"),
    );
    for (row, group) in groups(&drawn) {
        let axis = match row {
            live::CREATE => "living containers",
            callers::CALLER | callers::LIBRARY => "MiB resident in the caller",
            callers::MOUNTS => "mounts more than the host has",
            together::PARALLEL => "at a time; time is per container",
            _ => "",
        };
        put(
            body,
            format_args!(
                "<figure><figcaption><b>{}</b></figcaption>{}</figure>",
                escape(row),
                charts::lines(&group, axis)
            ),
        );
    }
    put(body, format_args!("</div></section>"));
}

fn table(body: &mut String, figures: &[Figure<'_>]) {
    put(
        body,
        format_args!(
            "<section><h2>All figures</h2><div class=\"wide\"><table><thead><tr><th>Row</th><th>Quantity</th><th>Runtime</th>\
             <th class=\"n\">Median</th><th class=\"n\">90&nbsp;%</th><th class=\"n\">99&nbsp;%</th><th class=\"n\">&times; floor</th>\
             <th class=\"n\">Samples</th><th>runtime to others (95&nbsp;%)</th>\
             </tr></thead><tbody>"
        ),
    );
    for figure in figures {
        let series = figure.series;
        let show = |number| escape(&series.quantity.show(number));
        let floor = figure.floors.as_ref().map_or(String::new(), show_ratio);
        put(
            body,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td><span class=\"dot {}\"></span>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escape(&title(series)),
                series.quantity.name(),
                charts::class(&series.runtime),
                escape(&series.runtime),
                show(figure.median),
                show(figure.p90),
                show(figure.p99),
                escape(&floor),
                series.samples.len(),
                escape(&all_ratios(&figure.ratios))
            ),
        );
    }
    put(body, format_args!("</tbody></table></div></section>"));
}

fn notes(body: &mut String, report: &Value) {
    put(
        body,
        format_args!(
            "<section class=\"notes\"><h2>How to read this</h2><p>A bar ends at the median. Its whisker is the 95 % bootstrap interval of \
             the median. All contestants took part in the same rounds. <b>floor</b> is a program of bare system calls that makes the \
             container of the default configuration and removes it; &times; floor is the median over the floor's. Peak memory is that of \
             the largest process among the command and what it waited for; the measuring process itself peaks at {} KiB, below which \
             nothing can be seen. Anonymous memory is the command's own, at its end.</p>",
            report["floor_kib"]
        ),
    );
    let left_out = report["left_out"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !left_out.is_empty() {
        put(body, format_args!("<p>Left out:</p><ul>"));
        for reason in left_out {
            put(
                body,
                format_args!("<li>{}</li>", escape(reason.as_str().unwrap_or_default())),
            );
        }
        put(body, format_args!("</ul>"));
    }
    put(body, format_args!("</section>"));
}

#[cfg(test)]
mod tests {
    use super::super::contestant::{FLOOR, OWN};
    use super::super::series::Table;
    use super::super::{budgets, figures};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_ours_is_escaped() {
        assert_eq!(
            escape(r#"<b a="1" c='2'>&amp;</b>"#),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;&lt;/b&gt;"
        );
        assert_eq!(escape("gr\u{fc}n 95 %"), "gr\u{fc}n 95 %");
    }

    /// Every element that is opened is closed, and in the right order.
    fn assert_well_formed(page: &str) {
        let mut open = Vec::new();
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            let end = rest[at..].find('>').unwrap() + at;
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            let name = tag
                .trim_start_matches('/')
                .split([' ', '\n', '/'])
                .next()
                .unwrap();
            match tag {
                _ if tag.starts_with('!') || tag.ends_with('/') || name == "meta" => {}
                _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
                _ => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_has_all_of_it_and_fetches_nothing() {
        let mut table = Table::default();
        for (runtime, number) in [(OWN, 4_000_000), ("c<run>", 9_000_000), (FLOOR, 3_000_000)] {
            for extra in 0..9 {
                let number = number + extra * 1000;
                table.put("run true", Quantity::Time, None, runtime, number);
                table.put("run true", Quantity::Peak, None, runtime, number / 1000);
                table.put(callers::CALLER, Quantity::Time, Some(4), runtime, number);
                table.put(callers::CALLER, Quantity::Time, Some(4096), runtime, number);
            }
        }
        let verdicts = budgets::judge(&budgets::parse(budgets::TEXT).unwrap(), &table);
        let report =
            json!({"host": {"cpu": "a <cpu>"}, "rounds": 9, "floor_kib": 7, "left_out": ["because <x>"]});
        let page = page(&report, &[], &figures::figures(&table), &verdicts);
        assert_well_formed(&page);
        for text in [
            "run true",
            "c&lt;run&gt;",
            "because &lt;x&gt;",
            "a &lt;cpu&gt;",
            "4.00 ms",
            callers::CALLER,
        ] {
            assert!(page.contains(text), "{text}");
        }
        for foreign in ["<script", "http:", "https:", "@import", "url(", "c<run>", "<cpu>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        // Three rows without points, one with two: bars and lines are drawn.
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.matches("<polyline").count() >= 3 && page.matches("class=\"bar ").count() >= 6);
    }
}
