//! The command line, as containerd writes it: flags with one dash in the manner of Go, then the action.

use std::ffi::OsString;

/// What the shim is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a shim serve a container, and say where it listens.
    Start,
    /// Clean up after a container, whether its shim lives or not.
    Delete,
    /// Serve: standard input is the listening socket. Only `start` calls it.
    Serve,
    /// Say what the runtime can do.
    Info,
    /// Say who this is.
    Version,
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// The address of containerd's own API.
    pub(crate) address: String,
    /// Empty: the working directory.
    pub(crate) bundle: String,
    pub(crate) debug: bool,
    /// The path of the socket that `serve` removes at its end.
    pub(crate) socket: String,
    /// The program that older shims publish events with: they go by socket here.
    pub(crate) publish_binary: String,
}

impl Args {
    /// Parses what follows the program's name.
    ///
    /// # Errors
    /// A text that names the word that is wrong.
    pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut args = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: String::new(),
            debug: false,
            socket: String::new(),
            publish_binary: String::new(),
        };
        let mut action = None;
        let mut words = words.map(|word| word.into_string().map_err(|word| format!("{word:?} is no UTF-8")));
        while let Some(word) = words.next().transpose()? {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                action = Some(word);
                break;
            };
            let (name, joined) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if let Some(alone) = args.switch(name) {
                if joined.is_some() {
                    return Err(format!("flag -{name} takes no value"));
                }
                action = action.or(alone.map(str::to_owned));
                continue;
            }
            let value = match joined {
                Some(value) => value,
                None => words
                    .next()
                    .transpose()?
                    .ok_or_else(|| format!("flag -{name} needs a value"))?,
            };
            *args.text(name).ok_or_else(|| format!("unknown flag -{name}"))? = value;
        }
        args.action = match action.as_deref() {
            Some("start") => Action::Start,
            Some("delete") => Action::Delete,
            Some("serve") => Action::Serve,
            Some("info") => Action::Info,
            Some("version") => Action::Version,
            Some(other) => return Err(format!("unknown action {other:?}: start and delete are known")),
            None => {
                return Err(
                    "no action: start and delete are known, and the flags -info and -version".to_owned(),
                );
            }
        };
        if args.namespace.is_empty() && !matches!(args.action, Action::Info | Action::Version) {
            return Err("flag -namespace is missing or empty".to_owned());
        }
        Ok(args)
    }

    /// A flag without a value; some are actions.
    fn switch(&mut self, name: &str) -> Option<Option<&'static str>> {
        match name {
            "debug" => {
                self.debug = true;
                Some(None)
            }
            "info" => Some(Some("info")),
            "v" | "version" => Some(Some("version")),
            _ => None,
        }
    }

    fn text(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "namespace" => Some(&mut self.namespace),
            "id" => Some(&mut self.id),
            "address" => Some(&mut self.address),
            "bundle" => Some(&mut self.bundle),
            "socket" => Some(&mut self.socket),
            // Events go to TTRPC_ADDRESS; the program is not executed.
            "publish-binary" => Some(&mut self.publish_binary),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_lines_that_containerd_writes_are_taken() {
        let start = parse(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start",
        );
        let start = start.unwrap();
        assert_eq!(
            (start.action, start.id.as_str(), start.debug),
            (Action::Start, "c1", true)
        );
        let delete = parse("-namespace d -address a -publish-binary b -id c1 -bundle /b delete").unwrap();
        assert_eq!((delete.action, delete.bundle.as_str()), (Action::Delete, "/b"));
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("--namespace=d --id=x start").unwrap().id, "x");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse("-id x start").unwrap_err().contains("-namespace"));
        assert!(
            parse("-namespace d -colour red start")
                .unwrap_err()
                .contains("-colour")
        );
        assert!(
            parse("-namespace d -id")
                .unwrap_err()
                .contains("-id needs a value")
        );
        assert!(parse("-namespace d stop").unwrap_err().contains("\"stop\""));
        assert!(parse("-namespace d").unwrap_err().contains("no action"));
    }
}
