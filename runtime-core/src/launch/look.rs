//! The answer to init's question what is to be made in the root: the image is read here, in the caller's process, on the
//! descriptor that init lends; what is found out goes back as a program, and init makes it with the container's ids.

use std::os::fd::{AsFd, OwnedFd};

use runtime_core_program::Writer;

use super::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::hooks::{Answer, ImageWork, Picture, compare};
use crate::gpu::image::Image;
use crate::lower::memfd;

/// `seen` is what a look before has remembered.
pub(super) fn answer(
    link: &Link,
    root: Option<OwnedFd>,
    work: &ImageWork,
    seen: &mut Option<Picture>,
) -> Result<()> {
    let root = root.ok_or_else(|| Error::new(ErrorKind::Internal, "init did not lend its root"))?;
    let made = match work.look(&Image::new(root)) {
        Answer::Make(made) => made,
        Answer::Remember(picture) => {
            *seen = Some(picture);
            return link.go(None);
        }
        Answer::Compare(picture) => {
            compare(&seen.take().unwrap_or_default(), &picture)?;
            return link.go(None);
        }
    };
    let mut writer = Writer::new();
    if made.is_empty() {
        return link.go(None);
    }
    for made in made {
        let step = made
            .into_step()
            .ok_or_else(|| Error::new(ErrorKind::System, "a path of the image contains a null byte"))?;
        // Failures are of the line at which init asked.
        writer.push(0, &step, |_| -1);
    }
    let bytes = writer.finish().ok_or_else(|| {
        Error::new(
            ErrorKind::System,
            "the image asks for more than a program can hold",
        )
    })?;
    link.go(Some(memfd(c"runtime-image-program", &bytes)?.as_fd()))
}
