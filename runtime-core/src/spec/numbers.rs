//! Lists of numbers as the kernel's bitmaps are written: `0-3,7` (CPUs, memory nodes).

/// The numbers of a list, sorted, each once; None where it is no list, or a number is not below `limit`. An empty text
/// has none.
pub(crate) fn parse(list: &str, limit: u32) -> Option<Vec<u32>> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number < limit);
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|_| !list.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_are_read_or_refused() {
        assert_eq!(parse("0-3,7", 8), Some(vec![0, 1, 2, 3, 7]));
        assert_eq!(parse(" 2 , 0 - 1,1", 8), Some(vec![0, 1, 2]));
        assert_eq!(parse("", 8), Some(vec![]));
        for wrong in ["8", "3-1", "a", "1,", ",", "-1", "1-", "0-9876543210", "1-2-3"] {
            assert_eq!(parse(wrong, 8), None, "{wrong}");
        }
    }
}
