//! CUDA's forward compatibility: which of two libcuda a program gets, the image's or the driver's.

use std::time::Duration;

use fixtures::driver::hostile::{LIBRARIES, compat};
use fixtures::driver::{CUDA_VERSION, compile_cuda};

use super::driver::run;
use super::{Verdict, good, same};
use crate::world::World;

/// CUDA 14, newer than the driver's.
const IMAGES: u32 = 14_000;
/// The longest that an image with something hostile may take. A busy machine may need more now and then, never always.
const LIMIT: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

/// The name of the image's library, its note, and whose a program finds: the driver is 999.88.77.
const TABLE: [(&str, Option<&str>, u32); 4] = [
    ("libcuda.so.1000.1", None, IMAGES),
    ("libcuda.so.998.1", None, CUDA_VERSION),
    (
        "libcuda.so.999.90",
        Some(r#"{"Format":1,"CUDA Version":"14.0","Driver":[998,999],"Device":[1]}"#),
        IMAGES,
    ),
    (
        "libcuda.so.1000.1",
        Some(r#"{"Format":1,"CUDA Version":"14.0","Driver":[998],"Device":[1]}"#),
        CUDA_VERSION,
    ),
];

pub(super) fn forward(world: &World) -> Verdict {
    judge(world).into()
}

fn judge(world: &World) -> Result<String, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut told = Vec::new();
    for (name, note, expected) in TABLE {
        let mut bundle = world.bundle_of("debian", &["/usr/bin/payload"])?;
        let place = compat(&bundle.dir.join("rootfs"), name).map_err(fail)?;
        compile_cuda(IMAGES, note, &place).map_err(fail)?;
        let what = match note {
            Some(note) => format!("{name} with the note {note}"),
            None => name.to_owned(),
        };
        let out = good(run(world, &mut bundle, &[])?)?;
        same(&what, &out, &format!("dlopen=ok ver={expected}"))?;
        told.push(format!("{what}: {expected}"));
    }
    let mut slowest = Duration::ZERO;
    for (what, make) in LIBRARIES {
        let mut shortest = Duration::MAX;
        for _ in 0..TRIES {
            let mut bundle = world.bundle_of("debian", &["/usr/bin/payload"])?;
            // Newer by its name, so that whoever trusts names prefers it.
            let place = compat(&bundle.dir.join("rootfs"), "libcuda.so.1000.9").map_err(fail)?;
            make(&place).map_err(fail)?;
            let ended = run(world, &mut bundle, &[])?;
            shortest = shortest.min(ended.took);
            let expected = format!("dlopen=ok ver={CUDA_VERSION}");
            same(&format!("{what}, {}", ended.err), &ended.out, &expected)?;
            if shortest < LIMIT {
                break;
            }
        }
        if shortest >= LIMIT {
            return Err(format!(
                "{what}: takes {shortest:?}, allowed: less than {LIMIT:?}"
            ));
        }
        slowest = slowest.max(shortest);
    }
    let hostile: Vec<&str> = LIBRARIES.iter().map(|(what, _)| *what).collect();
    Ok(format!(
        "{}; {}: {CUDA_VERSION}, within {} ms",
        told.join("; "),
        hostile.join(", "),
        slowest.as_millis()
    ))
}
