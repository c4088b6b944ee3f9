//! From tables to a filter: the architecture first, then the number by halving, then the conditions.
//!
//! Numbers that lead to the same are one range, so that a list of 300 allowed calls is some dozens of ranges and a call
//! passes six or seven comparisons. Everything is added from the end of the filter to its beginning.

use super::assemble::{Assembler, Compare, Target};
use super::names::{Abi, X32_BIT};
use super::rules::{Ask, Condition, RETURN_ENOSYS, Rule, Table};

/// Offsets in `struct seccomp_data`. Arguments are 64 bits; all machines that this is built for have the lower half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const UPPER_HALF: u32 = 4;

/// SECCOMP_RET_KILL_THREAD, for calls of an architecture that the profile does not name.
const KILL: u32 = 0;

/// Where a range of numbers begins and what happens to it; it ends where the next one begins.
type Range = (u32, Target);

/// The filter that does what the tables say.
pub(super) fn filter(tables: &[Table]) -> Vec<u8> {
    let mut audits: Vec<u32> = Vec::new();
    for table in tables {
        if !audits.contains(&table.abi.audit()) {
            audits.push(table.abi.audit());
        }
    }
    let mut filter = Assembler::default();
    let mut next = Target::Return(KILL);
    // The machine's own architecture is added last and asked for first.
    for audit in audits.into_iter().rev() {
        let alike = tables.iter().filter(|table| table.abi.audit() == audit);
        let (x32, plain): (Vec<&Table>, Vec<&Table>) = alike.partition(|table| table.abi == Abi::X32);
        let body = architecture(&mut filter, audit, plain.first().copied(), x32.first().copied());
        next = filter.branch(Compare::Equal, audit, body, next);
    }
    filter.load(ARCHITECTURE);
    filter.finish()
}

/// The calls of one architecture; x32 is part of what the kernel calls x86_64.
fn architecture(filter: &mut Assembler, audit: u32, plain: Option<&Table>, x32: Option<&Table>) -> Target {
    let mut ranges = Vec::new();
    match plain {
        Some(table) => fill(filter, table, 0, &mut ranges),
        None => put(&mut ranges, 0, Target::Return(KILL)),
    }
    match x32 {
        Some(table) => fill(filter, table, X32_BIT, &mut ranges),
        None if audit == Abi::X32.audit() => {
            put(&mut ranges, X32_BIT, Target::Return(KILL));
            // What a tracer writes to have a call skipped is no call of x32 (libseccomp makes the same exception).
            let skipped = plain.map_or(KILL, |table| table.default);
            put(&mut ranges, u32::MAX, Target::Return(skipped));
        }
        None => {}
    }
    let found = search(filter, &ranges);
    match ranges.len() {
        1 => found,
        _ => filter.load(NUMBER),
    }
}

/// Adds the ranges of one table, whose numbers begin at `first`.
fn fill(filter: &mut Assembler, table: &Table, first: u32, ranges: &mut Vec<Range>) {
    let default = Target::Return(table.default);
    // Calls with the same rules share their instructions.
    let mut decided: Vec<(&[(u32, Rule)], Target)> = Vec::new();
    put(ranges, first, default);
    for call in table.calls() {
        let [(number, rule), others @ ..] = call else {
            continue;
        };
        let target = if others.is_empty() && rule.conditions.is_empty() {
            Target::Return(rule.action)
        } else if let Some((_, target)) = decided.iter().find(|(known, _)| same(known, call)) {
            *target
        } else {
            let target = decide(filter, call, default);
            decided.push((call, target));
            target
        };
        put(ranges, *number, target);
        if let Some(after) = number.checked_add(1) {
            put(ranges, after, default);
        }
    }
    if let Some(after) = table.newest.and_then(|newest| newest.checked_add(1)) {
        put(ranges, after, Target::Return(RETURN_ENOSYS));
    }
}

/// Whether two numbers have the same rules.
fn same(one: &[(u32, Rule)], other: &[(u32, Rule)]) -> bool {
    one.iter()
        .map(|(_, rule)| rule)
        .eq(other.iter().map(|(_, rule)| rule))
}

/// Begins a range; one that began at the same number was empty.
fn put(ranges: &mut Vec<Range>, first: u32, target: Target) {
    if ranges.last().is_some_and(|(last, _)| *last == first) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|(_, last)| *last != target) {
        ranges.push((first, target));
    }
}

fn search(filter: &mut Assembler, ranges: &[Range]) -> Target {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    match (lower, upper) {
        ([], [(_, target)]) => *target,
        (_, [(first, _), ..]) => {
            let upper = search(filter, upper);
            let lower = search(filter, lower);
            filter.branch(Compare::AtLeast, *first, upper, lower)
        }
        // There always is a range that begins at 0.
        (_, []) => Target::Return(KILL),
    }
}

/// The rules of one number, in their order.
fn decide(filter: &mut Assembler, rules: &[(u32, Rule)], default: Target) -> Target {
    rules.iter().rev().fold(default, |otherwise, (_, rule)| {
        let action = Target::Return(rule.action);
        let conditions = rule.conditions.iter().rev();
        conditions.fold(action, |holds, one| condition(filter, one, holds, otherwise))
    })
}

fn condition(filter: &mut Assembler, condition: &Condition, holds: Target, fails: Target) -> Target {
    let ends = if condition.negated {
        (fails, holds)
    } else {
        (holds, fails)
    };
    let lower = ARGUMENTS + 8 * condition.argument;
    let upper = lower + UPPER_HALF;
    let (compare, value) = match condition.ask {
        Ask::Bits { mask, value } => {
            let rest = bits(filter, lower, half(mask), half(value), ends);
            return bits(filter, upper, half(mask >> 32), half(value >> 32), (rest, ends.1));
        }
        Ask::Greater(value) => (Compare::Greater, value),
        Ask::AtLeast(value) => (Compare::AtLeast, value),
    };
    filter.branch(compare, half(value), ends.0, ends.1);
    let rest = filter.load(lower);
    if !condition.wide {
        return rest;
    }
    // The upper half decides unless it is equal.
    let differs = filter.branch(Compare::Equal, half(value >> 32), rest, ends.1);
    filter.branch(Compare::Greater, half(value >> 32), ends.0, differs);
    filter.load(upper)
}

/// The lower half of a value.
#[allow(clippy::cast_possible_truncation, reason = "half of it is meant")]
fn half(value: u64) -> u32 {
    value as u32
}

/// Whether these bits of the word at the offset have this value: where to go if so, and if not.
fn bits(filter: &mut Assembler, offset: u32, mask: u32, value: u32, (yes, no): (Target, Target)) -> Target {
    if mask == 0 {
        return yes;
    }
    filter.branch(Compare::Equal, value, yes, no);
    if mask != u32::MAX {
        filter.mask(mask);
    }
    filter.load(offset)
}
