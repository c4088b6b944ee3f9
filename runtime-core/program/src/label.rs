//! What the kernel shows of a label that was asked for: init compares both. Pure, so that it is tested without a kernel
//! that has such labels.

/// Whether AppArmor shows the profile as `NAME (MODE)`, or as one of a stack `NAME//&NAME (MODE)`, which it makes where
/// this process is confined itself. A profile of another namespace is shown as that namespace's view has it: then only
/// that there is one can be said.
pub fn is_profile(shown: &[u8], profile: &[u8]) -> bool {
    if profile.starts_with(b":") {
        return !shown.is_empty();
    }
    let names = match shown.iter().rposition(|&byte| byte == b'(') {
        Some(mode) if shown.ends_with(b")") => shown.get(..mode).unwrap_or_default().trim_ascii_end(),
        _ => shown,
    };
    parts(profile).all(|wanted| parts(names).any(|name| name == wanted))
}

/// The profiles of a stack.
fn parts(mut stack: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ended = false;
    core::iter::from_fn(move || {
        if ended {
            return None;
        }
        let Some(at) = stack.windows(3).position(|bytes| bytes == b"//&") else {
            ended = true;
            return Some(stack);
        };
        let (name, rest) = stack.split_at_checked(at)?;
        stack = rest.get(3..)?;
        Some(name)
    })
}

/// Whether both labels have the same user, role and type. The kernel writes levels and categories in a form of its own
/// (c1,c0 as c0,c1).
pub fn is_selinux(shown: &[u8], label: &[u8]) -> bool {
    let start = |label: &[u8]| {
        let mut colons = label.iter().enumerate().filter(|(_, byte)| **byte == b':');
        colons.nth(2).map_or(label.len(), |(at, _)| at)
    };
    !shown.is_empty() && shown.get(..start(shown)) == label.get(..start(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_known_by_its_name_alone_or_in_a_stack() {
        for (shown, profile) in [
            ("docker-default (enforce)", "docker-default"),
            ("docker-default (complain)", "docker-default"),
            ("unconfined", "unconfined"),
            ("crun//&docker-default (mixed)", "docker-default"),
            ("b//&a (enforce)", "a//&b"),
            ("/usr/bin/{a,b} (enforce)", "/usr/bin/{a,b}"),
            (":ns://inner (enforce)", ":ns:inner"),
        ] {
            assert!(
                is_profile(shown.as_bytes(), profile.as_bytes()),
                "{shown} for {profile}"
            );
        }
        for (shown, profile) in [
            ("", "docker-default"),
            ("unconfined", "docker-default"),
            ("docker-default-2 (enforce)", "docker-default"),
            ("a//&c (enforce)", "a//&b"),
            ("", ":ns:inner"),
        ] {
            assert!(
                !is_profile(shown.as_bytes(), profile.as_bytes()),
                "{shown} for {profile}"
            );
        }
    }

    #[test]
    fn a_selinux_label_is_known_by_user_role_and_type() {
        let asked = b"system_u:system_r:container_t:s0:c5,c4";
        assert!(is_selinux(b"system_u:system_r:container_t:s0:c4,c5", asked));
        assert!(is_selinux(asked, asked));
        assert!(is_selinux(b"user_u:user_r:user_t", b"user_u:user_r:user_t"));
        for shown in [
            &b""[..],
            b"unconfined_u:unconfined_r:unconfined_t:s0",
            b"system_u:system_r:container_t2:s0:c4,c5",
        ] {
            assert!(!is_selinux(shown, asked), "{shown:?}");
        }
    }
}
