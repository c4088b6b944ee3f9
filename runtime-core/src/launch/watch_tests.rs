use std::collections::BTreeMap;

use rustix::io::Errno;

use super::*;
use crate::plan::Step;

fn lines(count: u32) -> Vec<(u32, Line)> {
    let line = |number| {
        let action = Action::Init(Step::Umask { mask: number });
        let from = format!("field[{number}]");
        (number, Line { action, from })
    };
    (3..3 + count).map(line).collect()
}

fn told(lines: &[(u32, Line)], slots: &BTreeMap<usize, u64>, end: u64) -> Vec<Event> {
    events(lines, |slot| slots.get(&slot).copied(), end, 42)
}

#[test]
fn a_step_lasts_until_the_next_one_begins() {
    let lines = lines(3);
    let slots = [(page::ENTERED, 10), (5, 20), (6, 25), (7, 40)].into();
    let events = told(&lines, &slots, 90);
    let times: Vec<_> = events
        .iter()
        .map(|event| (event.line, event.begin, event.end))
        .collect();
    assert_eq!(
        times,
        [
            (None, 10, 20),
            (Some(3), 20, 25),
            (Some(4), 25, 40),
            (Some(5), 40, 90)
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| (event.pid, event.actor) == (42, Actor::Init))
    );
    assert_eq!(events[1].kind, "Umask");
    assert_eq!(events[1].args[0], ("from", "field[3]".to_owned()));
    assert!(
        !events
            .iter()
            .any(|event| event.args.iter().any(|(key, _)| *key == "failed"))
    );
}

#[test]
fn the_step_that_fails_is_the_last_that_began() {
    let slots = [(page::ENTERED, 10), (5, 20), (6, 25), (page::FAILED, 30)].into();
    let events = told(&lines(3), &slots, 90);
    let last = events.last().unwrap();
    assert_eq!((last.line, last.begin, last.end), (Some(4), 25, 30));
    assert_eq!(last.args.last(), Some(&("failed", "true".to_owned())));
}

/// Whatever stands in the page: no more events than lines, none that ends before it begins, no words but the schedule's.
#[test]
fn a_page_full_of_nonsense_gives_harmless_events() {
    let trace = Trace::on();
    let lines = lines(200);
    let words: Vec<String> = lines.iter().map(|(_, line)| line.to_string()).collect();
    for seed in 1..40u64 {
        let watch = Watch::new(&trace, lines.iter().cloned()).unwrap();
        let mut state = seed;
        let mut bytes = Vec::new();
        for slot in 0..watch.slots {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let near = Reading::take().counter;
            let word = match (slot as u64 + seed) % 5 {
                0 => u64::MAX,
                1 => state,
                2 => near,
                3 => near.wrapping_sub(state >> 40),
                _ => 0,
            };
            bytes.extend(word.to_ne_bytes());
        }
        assert_eq!(rustix::io::pwrite(watch.page(), &bytes, 0), Ok(bytes.len()));
        drop(watch);
    }
    let events = trace.events();
    assert!(!events.is_empty() && events.len() <= 40 * 201, "{}", events.len());
    for event in events {
        assert!(event.begin <= event.end, "{event:?}");
        assert!(
            event.line.is_none() || words.contains(&event.name.to_string()),
            "{event:?}"
        );
    }
}

#[test]
fn a_page_is_as_long_as_it_was_made_and_not_inherited() {
    let watch = Watch::new(&Trace::on(), lines(4).into_iter()).unwrap();
    let length = watch.slots as u64 * 8;
    assert_eq!(
        rustix::fs::fstat(watch.page()).unwrap().st_size.cast_unsigned(),
        length
    );
    for other in [0, length - 8, length + 8] {
        assert_eq!(rustix::fs::ftruncate(watch.page(), other), Err(Errno::PERM));
    }
    let flags = rustix::io::fcntl_getfd(watch.page()).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn nobody_is_watched_where_no_times_are_taken() {
    assert!(Watch::new(&Trace::off(), lines(4).into_iter()).is_none());
}
