//! init's reader of an image's /etc/passwd: in pieces of any size it finds what a plain reading of the whole finds.

use crate::bytes::Bytes;

#[path = "../../runtime-core/init/src/passwd.rs"]
mod reader;

use reader::{MAX_LINE, Search};

/// The first two bytes choose the user and the size of the pieces.
pub(crate) fn search(data: &[u8]) {
    let mut bytes = Bytes(data);
    let uid = u32::from(bytes.byte() % 8);
    let size = usize::from(bytes.byte()) + 1;
    let text = bytes.0;
    let plain = text
        .split(|&byte| byte == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
        .map(|line| line.split(|&byte| byte == b':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).is_some_and(|digits| number(digits) == Some(uid)))
        .map(|fields| fields.get(5).copied().unwrap_or_default().to_vec());
    let mut search = Search::new(uid);
    let found = text.chunks(size).any(|piece| search.take(piece)) || search.end();
    assert_eq!(found.then(|| search.home().to_vec()), plain);
}

fn number(digits: &[u8]) -> Option<u32> {
    let all = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}
