//! In which form containerd asks, and how it is answered.
//!
//! Standard input holds the bootstrap parameters since containerd 2.3 and the container's options before. Protobuf
//! does not name its types, and options can be decoded as parameters; but only parameters repeat the id and namespace
//! of the command line. Before 2.3 the environment tells: MAX_SHIM_VERSION came with the JSON answer in 1.7. It says 2 up
//! to 2.2, whose newest version is 3; 1.7 refuses 3, and all of them speak 2.

use prost::Message;

use crate::args::Args;
use crate::proto::bootstrap::{BootstrapParams, BootstrapResult};
use crate::proto::options::{OPTIONS, Options};
use crate::proto::types::Any;

/// Where shims listen when containerd names no other directory.
const SOCKET_DIR: &str = "/run/containerd/s";
/// The newest task service that is served here.
const VERSION: i32 = 3;
/// The oldest one.
const OLDEST: i32 = 2;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Only the address; the task service version 2 is meant.
    Bare,
    /// An object with version, address and protocol. The version is not above what containerd says that it knows.
    Json { newest: i32 },
    /// BootstrapResult.
    Protobuf,
}

/// What containerd asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) form: Form,
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) debug: bool,
    /// Where containerd's API is; part of what names the socket.
    pub(super) address: String,
    /// Where events go.
    pub(super) ttrpc_address: String,
    pub(super) socket_dir: String,
    pub(super) options: Options,
}

impl Question {
    /// Reads standard input, the command line and the environment.
    pub(super) fn read(input: &[u8], args: &Args, env: impl Fn(&str) -> Option<String>) -> Self {
        let params = BootstrapParams::decode(input).ok();
        let params =
            params.filter(|params| params.instance_id == args.id && params.namespace == args.namespace);
        let from_env = |name| env(name).unwrap_or_default();
        match params.filter(|_| !args.id.is_empty()) {
            Some(params) => Self {
                form: Form::Protobuf,
                id: args.id.clone(),
                namespace: args.namespace.clone(),
                // The levels grow with weight: -4 is debug, 0 is info.
                debug: args.debug || params.log_level <= -4,
                address: chosen(params.containerd_grpc_address, &args.address),
                ttrpc_address: chosen(params.containerd_ttrpc_address, &from_env("TTRPC_ADDRESS")),
                socket_dir: chosen(params.socket_dir.unwrap_or_default(), SOCKET_DIR),
                options: options(
                    params
                        .extensions
                        .into_iter()
                        .filter_map(|extension| extension.value),
                ),
            },
            None => Self {
                form: match env("MAX_SHIM_VERSION") {
                    Some(newest) => Form::Json {
                        newest: newest.parse().unwrap_or(OLDEST),
                    },
                    None => Form::Bare,
                },
                id: args.id.clone(),
                namespace: args.namespace.clone(),
                debug: args.debug,
                address: args.address.clone(),
                ttrpc_address: from_env("TTRPC_ADDRESS"),
                socket_dir: SOCKET_DIR.to_owned(),
                options: options(Any::decode(input).ok().into_iter()),
            },
        }
    }

    /// The answer, in the form of the question.
    pub(super) fn answer(&self, address: &str) -> Vec<u8> {
        match self.form {
            Form::Bare => address.as_bytes().to_vec(),
            Form::Json { newest } => {
                let version = newest.clamp(OLDEST, VERSION);
                let answer = serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"});
                answer.to_string().into_bytes()
            }
            Form::Protobuf => BootstrapResult {
                version: VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
            }
            .encode_to_vec(),
        }
    }
}

fn chosen(asked: String, otherwise: &str) -> String {
    if asked.is_empty() {
        otherwise.to_owned()
    } else {
        asked
    }
}

/// The options of runc among messages of any kind; none are as good as empty ones.
fn options(mut messages: impl Iterator<Item = Any>) -> Options {
    let found = messages.find(|message| message.is(OPTIONS));
    found
        .and_then(|message| Options::decode(message.value.as_slice()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bootstrap::Extension;

    fn args() -> Args {
        let words = [
            "-namespace",
            "ns",
            "-id",
            "c1",
            "-address",
            "/run/c.sock",
            "start",
        ];
        Args::parse(words.iter().map(Into::into)).unwrap()
    }

    fn any() -> Any {
        let options = Options {
            shim_cgroup: "/pods".to_owned(),
            ..Options::default()
        };
        Any::of(OPTIONS, &options)
    }

    #[test]
    fn containerd_2_3_is_answered_in_protobuf() {
        let params = BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "ns".to_owned(),
            containerd_grpc_address: "/run/c.sock".to_owned(),
            containerd_ttrpc_address: "/run/c.sock.ttrpc".to_owned(),
            log_level: -4,
            extensions: vec![Extension { value: Some(any()) }],
            socket_dir: Some("/run/x".to_owned()),
            ..BootstrapParams::default()
        };
        let question = Question::read(&params.encode_to_vec(), &args(), |_| Some("2".to_owned()));
        assert_eq!(question.form, Form::Protobuf);
        assert_eq!((question.debug, question.socket_dir.as_str()), (true, "/run/x"));
        assert_eq!(question.options.shim_cgroup, "/pods");
        let answer = BootstrapResult::decode(question.answer("unix:///a").as_slice()).unwrap();
        assert_eq!(
            (answer.version, answer.address.as_str(), answer.protocol.as_str()),
            (3, "unix:///a", "ttrpc")
        );
    }

    #[test]
    fn containerd_1_7_is_answered_in_json_although_its_input_decodes_as_parameters() {
        let input = any().encode_to_vec();
        assert!(BootstrapParams::decode(input.as_slice()).is_ok());
        let env = |name: &str| (name == "MAX_SHIM_VERSION").then(|| "2".to_owned());
        let question = Question::read(&input, &args(), env);
        assert_eq!(question.form, Form::Json { newest: 2 });
        assert_eq!(question.options.shim_cgroup, "/pods");
        let answer: serde_json::Value = serde_json::from_slice(&question.answer("unix:///a")).unwrap();
        assert_eq!(answer["version"], 2, "1.7 refuses what is newer than it says");
        assert_eq!(answer["address"], "unix:///a");
    }

    #[test]
    fn the_version_in_json_is_one_that_both_know() {
        for (said, version) in [("3", 3), ("9", 3), ("1", 2), ("new", 2)] {
            let env = |name: &str| (name == "MAX_SHIM_VERSION").then(|| said.to_owned());
            let question = Question::read(&[], &args(), env);
            let answer: serde_json::Value = serde_json::from_slice(&question.answer("a")).unwrap();
            assert_eq!(answer["version"], version, "{said}");
        }
    }

    #[test]
    fn containerd_1_6_gets_the_bare_address_with_and_without_options() {
        for input in [Vec::new(), any().encode_to_vec()] {
            let question = Question::read(&input, &args(), |_| None);
            assert_eq!(question.form, Form::Bare);
            assert_eq!(question.answer("unix:///a"), b"unix:///a");
        }
    }
}
