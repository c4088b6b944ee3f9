//! The bytes of requests, written out, and answers that are whole, cut and wrong.
#![cfg(target_endian = "little")]
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn a_link_moves_in_one_message() {
    let bytes = move_link(7, 0x0102, 5, "eth0", 9).unwrap();
    let expected: [&[u8]; 8] = [
        // length 60, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, sequence, port
        &[60, 0, 0, 0, 19, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0],
        // family, type, index
        &[0, 0, 0, 0, 2, 1, 0, 0],
        // flags, change
        &[0; 8],
        // IFLA_IFNAME: 9 bytes, with the terminator, and three of padding
        &[9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0],
        // IFLA_NET_NS_FD
        &[8, 0, 28, 0],
        &[5, 0, 0, 0],
        // IFLA_NEW_IFINDEX
        &[8, 0, 49, 0],
        &[9, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_link_is_set_up() {
    let bytes = set_up(1, 3).unwrap();
    let expected: [&[u8]; 2] = [
        &[32, 0, 0, 0, 19, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn addresses_are_listed() {
    let bytes = list_addresses(2).unwrap();
    let expected: [&[u8]; 2] = [&[24, 0, 0, 0, 22, 0, 1, 3, 2, 0, 0, 0, 0, 0, 0, 0], &[0; 8]];
    assert_eq!(bytes, expected.concat());
}

/// ifaddrmsg of 10.0.0.7/24 on link 4, with these flags (IFA_FLAGS) and scope, as the kernel sends it.
fn listed(flags: u32, scope: u8) -> Vec<u8> {
    let flags = flags.to_ne_bytes();
    let parts: [&[u8]; 7] = [
        &[2, 24, 0, scope, 4, 0, 0, 0],
        &[8, 0, 1, 0, 10, 0, 0, 7],
        &[8, 0, 2, 0, 10, 0, 0, 7],
        &[8, 0, 4, 0, 10, 0, 0, 255],
        // IFA_LABEL
        &[9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0],
        &[8, 0, 8, 0],
        &flags,
    ];
    parts.concat()
}

#[test]
fn an_address_is_added_as_it_was_listed_but_for_its_label() {
    let address = kept_address(&listed(0x80 | 0x200 | 0x1, 0), 4).unwrap().unwrap();
    assert_eq!(address.to_string(), "10.0.0.7/24");
    let bytes = add_address(3, 6, &address).unwrap();
    let expected: [&[u8]; 6] = [
        // RTM_NEWADDR, request, acknowledge, create, exclusive
        &[56, 0, 0, 0, 20, 0, 5, 6, 3, 0, 0, 0, 0, 0, 0, 0],
        &[2, 24, 0, 0, 6, 0, 0, 0],
        &[8, 0, 1, 0, 10, 0, 0, 7],
        &[8, 0, 2, 0, 10, 0, 0, 7],
        &[8, 0, 4, 0, 10, 0, 0, 255],
        // "secondary" and "permanent" are the kernel's to find.
        &[8, 0, 8, 0, 0, 2, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn only_permanent_global_addresses_of_the_link_are_kept() {
    assert!(kept_address(&listed(0x80, 0), 4).unwrap().is_some());
    assert_eq!(kept_address(&listed(0x80, 0), 5), Ok(None), "another link");
    assert_eq!(kept_address(&listed(0x0, 0), 4), Ok(None), "a lease");
    assert_eq!(kept_address(&listed(0x80, 253), 4), Ok(None), "link scope");
    assert_eq!(kept_address(&listed(0x80, 254), 4), Ok(None), "host scope");
    // The one byte in the head counts where the attribute is missing.
    let head = [2, 24, 0x80, 0, 4, 0, 0, 0];
    assert!(kept_address(&head, 4).unwrap().is_some());
}

fn refusal(flags: u16, repeated: &[u8], words: &[u8]) -> Vec<u8> {
    let body = [&(-libc::EEXIST).to_ne_bytes()[..], repeated, words].concat();
    let length = u32::try_from(HEAD + body.len()).unwrap();
    [
        &length.to_ne_bytes()[..],
        &ERROR.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &9u32.to_ne_bytes(),
        &[0; 4],
        &body,
    ]
    .concat()
}

#[test]
fn a_refusal_has_the_kernels_words() {
    let request = set_up(9, 3).unwrap();
    let words = [7, 0, 1, 0, b'n', b'o', 0, 0];
    let whole = refusal(EXPLAINED, &request, &words);
    let found = messages(&whole).unwrap();
    assert_eq!(found[0].sequence, 9);
    assert_eq!(outcome(&found[0]), Ok((libc::EEXIST, Some("no".to_owned()))));
    let capped = refusal(EXPLAINED | CAPPED, &request[..HEAD], &words);
    let found = messages(&capped).unwrap();
    assert_eq!(outcome(&found[0]), Ok((libc::EEXIST, Some("no".to_owned()))));
    let silent = refusal(0, &request, &[]);
    let found = messages(&silent).unwrap();
    assert_eq!(outcome(&found[0]), Ok((libc::EEXIST, None)));
}

#[test]
fn cut_and_wrong_answers_are_noticed() {
    let whole = refusal(EXPLAINED, &set_up(9, 3).unwrap(), &[7, 0, 1, 0, b'n', b'o', 0, 0]);
    for cut in 1..whole.len() {
        assert_eq!(messages(&whole[..cut]), Err(Malformed), "{cut} bytes");
    }
    let body = listed(0x80, 0);
    for cut in 0..8 {
        assert_eq!(kept_address(&body[..cut], 4), Err(Malformed), "{cut} bytes");
    }
    assert_eq!(kept_address(&body[..body.len() - 1], 4), Err(Malformed));
    // A message shorter than its head, an attribute shorter than its own, an error that is none.
    let mut short = whole.clone();
    short[0] = 15;
    assert_eq!(messages(&short), Err(Malformed));
    assert_eq!(attributes(&[3, 0, 1, 0]), Err(Malformed));
    assert_eq!(attributes(&[0, 0, 0, 0]), Err(Malformed));
    let positive = Message {
        kind: ERROR,
        flags: 0,
        sequence: 0,
        body: &[1, 0, 0, 0],
    };
    assert_eq!(outcome(&positive), Err(Malformed));
    let far = Message {
        kind: ERROR,
        flags: EXPLAINED,
        sequence: 0,
        body: &[255, 255, 255, 255, 255, 255, 255, 255],
    };
    assert_eq!(outcome(&far), Err(Malformed));
}

#[test]
fn two_messages_in_one_datagram() {
    let both = [set_up(1, 3).unwrap(), list_addresses(2).unwrap()].concat();
    let found = messages(&both).unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|message| (message.kind, message.sequence, message.body.len()))
        .collect();
    assert_eq!(seen, [(19, 1, 16), (22, 2, 8)]);
}

#[test]
fn a_value_too_long_for_an_attribute_is_refused() {
    assert_eq!(move_link(1, 1, 1, &"x".repeat(65_536), 1), Err(Malformed));
}
