use serde_json::Value;

use super::*;

fn event(name: &'static str, thread: i32, begin: u64, end: u64) -> Event {
    Event {
        actor: Actor::Runtime,
        pid: 10,
        thread,
        name: name.into(),
        kind: "phase",
        line: None,
        begin,
        end,
        args: Vec::new(),
    }
}

#[test]
fn what_is_off_records_nothing() {
    let trace = Trace::off();
    let mut span = trace.span("work");
    struct Never;
    impl Display for Never {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("nobody reads it")
        }
    }
    span.note("key", Never);
    drop(span);
    assert!(trace.time("work", || Err::<(), _>(Never)).is_err());
    assert_eq!(trace.events(), []);
}

#[test]
fn a_span_lies_within_the_one_around_it_and_keeps_its_failure() {
    let trace = Trace::on();
    let outer = trace.span("outer");
    let failed = trace.time("inner", || Err::<(), _>("broken"));
    drop(outer);
    assert_eq!(failed, Err("broken"));
    let events = trace.events();
    let names: Vec<_> = events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(names, ["outer", "inner"]);
    assert!(events[0].begin <= events[1].begin && events[1].begin <= events[1].end);
    assert!(events[1].end <= events[0].end);
    assert_eq!(events[1].args, [("error", "broken".to_owned())]);
    assert_eq!(
        events[0].thread,
        rustix::thread::gettid().as_raw_pid(),
        "the thread that worked"
    );
}

#[test]
fn threads_add_to_the_records_that_they_were_given() {
    let (shared, alone) = (Trace::on(), Trace::on());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| drop(shared.clone().span("shared"))));
        }
        scope.spawn(|| drop(alone.span("alone")));
    });
    let mut threads: Vec<_> = shared.events().iter().map(|event| event.thread).collect();
    assert_eq!(threads.len(), 400);
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 8);
    assert_eq!(alone.events().len(), 1);
}

#[test]
fn the_document_has_exact_times_and_harmless_words() {
    let mut nasty = event(
        "a\u{1b}[2J\u{202e}\n\"",
        11,
        123_456_789_012_345,
        123_456_789_013_345,
    );
    nasty.args.push(("from", "\u{9b}1m\0".to_owned()));
    nasty.line = Some(7);
    let text = chrome::document(&[nasty]);
    for char in ['\u{1b}', '\u{202e}', '\u{9b}', '\n', '\0'] {
        assert!(!text.contains(char), "{char:?}: {text}");
    }
    let document: Value = serde_json::from_str(&text).unwrap();
    let list = document["traceEvents"].as_array().unwrap();
    assert_eq!(list[0]["ph"], "M");
    assert_eq!(list[0]["args"]["name"], "runtime");
    let found = list.last().unwrap();
    assert_eq!(
        (&found["ph"], &found["pid"], &found["tid"]),
        (&"X".into(), &10.into(), &11.into())
    );
    assert_eq!(
        (found["ts"].to_string(), found["dur"].to_string()),
        ("123456789012.345".to_owned(), "1.0".to_owned())
    );
    assert_eq!(found["args"]["line"], 7);
    assert_eq!(found["name"], "a\\u{1b}[2J\\u{202e}\\u{a}\"");
}

#[test]
fn the_table_moves_what_is_within_another_to_the_right() {
    let list = [
        event("all", 1, 1_000_000, 9_000_000),
        event("first", 1, 1_500_000, 3_000_000),
        event("within first", 1, 2_000_000, 3_000_000),
        event("of another thread", 2, 2_500_000, 2_600_000),
        event("second\u{1b}", 1, 3_000_000, 3_000_000),
    ];
    assert_eq!(
        table::table(&list),
        "    at ms    took ms  process  what\n\
         \x20   0.000      8.000  runtime  all\n\
         \x20   0.500      1.500  runtime    first\n\
         \x20   1.000      1.000  runtime      within first\n\
         \x20   1.500      0.100  runtime  of another thread\n\
         \x20   2.000      0.000  runtime    second\\u{1b}\n"
    );
}

#[test]
fn long_words_are_cut_at_a_character() {
    let long = "ä".repeat(LONGEST);
    let short = cut(long.into());
    assert_eq!(short.len(), LONGEST + 3);
    assert!(short.ends_with("ä..."));
}

#[test]
fn a_counter_outside_of_the_two_readings_has_no_time() {
    let early = Reading {
        counter: 1000,
        time: 50,
    };
    let late = Reading {
        counter: 3000,
        time: 1050,
    };
    for (counter, time) in [
        (1000, Some(50)),
        (2000, Some(550)),
        (3000, Some(1050)),
        (999, None),
        (3001, None),
        (0, None),
        (u64::MAX, None),
    ] {
        assert_eq!(early.time_of(counter, &late), time, "{counter}");
    }
    // A counter that stands still or a clock that seems to go back must not divide by zero or overflow.
    assert_eq!(late.time_of(3000, &late), Some(1050));
    let back = Reading {
        counter: 4000,
        time: 0,
    };
    assert_eq!(late.time_of(3500, &back), Some(1050));
}

#[test]
fn the_counter_runs_with_the_clock() {
    let begin = Reading::take();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let middle = Reading::take();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let end = Reading::take();
    let told = begin.time_of(middle.counter, &end).unwrap();
    assert!(told.abs_diff(middle.time) < 1_000_000, "{told} is not {middle:?}");
}
