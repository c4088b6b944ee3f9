//! The driver's files in a container.

use super::{Verdict, good};
use crate::world::World;

pub(super) fn mounts(world: &World) -> Verdict {
    let judged = || {
        let dir = world.cdi()?.to_string_lossy().into_owned();
        let library = format!(
            "/{}/libcuda.so.{}",
            world.driver.library_dir(),
            fixtures::driver::VERSION
        );
        let script = format!(
            "cat /proc/self/mountinfo; for c in 'chmod 777' 'rm -f'; do $c {library} 2>/dev/null && echo CHANGED; done; \
             (echo x > {library}) 2>/dev/null && echo WRITTEN; true"
        );
        let bundle = world.bundle(&script)?;
        let out = good(world.run(&bundle, &["--cdi-spec-dir", &dir, "--device", "nvidia.com/gpu=0"])?)?;
        let line = out
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(library.as_str()))
            .ok_or_else(|| format!("{library} is not mounted"))?;
        let options = line.split(' ').nth(5).unwrap_or_default();
        for option in ["ro", "nosuid", "nodev"] {
            if !options.split(',').any(|found| found == option) {
                return Err(format!("{option} is not in {options}"));
            }
        }
        if out.contains("CHANGED") || out.contains("WRITTEN") {
            return Err("a file of the driver was changed from inside".to_owned());
        }
        Ok(format!("{library} {options}"))
    };
    judged().into()
}
