//! Annotations `org.systemd.property.NAME` as properties of the container's unit.
//!
//! Pure. Values are in the notation of GVariant. Names of the configuration files that end in `Sec` are accepted in place of
//! the ones of D-Bus, `USec`, with their numbers in seconds. Only the properties below are allowed: the others decide
//! what this runtime answers for (which process, which cgroup, which devices), or are of no use to a scope. None starts or
//! stops another unit or acts on the host (`Wants=poweroff.target`, `FailureAction=reboot`): engines pass annotations of
//! their users on (R-48, CVE-2024-3154).

use std::collections::HashMap;

use super::properties::Property;
use crate::dbus::{Value, parse};
use crate::error::{Error, Result};

const PREFIX: &str = "org.systemd.property.";

/// What a container may set, by topic: the unit, its end, its limits, its network.
const ALLOWED: [&[&str]; 4] = [
    &[
        "After",
        "Before",
        "CollectMode",
        "DefaultDependencies",
        "Description",
        "Documentation",
        "JobRunningTimeoutUSec",
        "JobTimeoutUSec",
        "PartOf",
        "RequiresMountsFor",
        "Requisite",
        "StopPropagatedFrom",
        "StopWhenUnneeded",
        "WantsMountsFor",
    ],
    &[
        "FinalKillSignal",
        "KillMode",
        "KillSignal",
        "OOMPolicy",
        "RestartKillSignal",
        "RuntimeMaxUSec",
        "RuntimeRandomizedExtraUSec",
        "SendSIGHUP",
        "SendSIGKILL",
        "TimeoutStopUSec",
        "WatchdogSignal",
    ],
    &[
        "AllowedCPUs",
        "AllowedMemoryNodes",
        "CPUQuotaPerSecUSec",
        "CPUQuotaPeriodUSec",
        "CPUWeight",
        "CoredumpReceive",
        "DefaultMemoryLow",
        "DefaultMemoryMin",
        "IODeviceLatencyTargetUSec",
        "IODeviceWeight",
        "IOReadBandwidthMax",
        "IOReadIOPSMax",
        "IOWeight",
        "IOWriteBandwidthMax",
        "IOWriteIOPSMax",
        "ManagedOOMMemoryPressure",
        "ManagedOOMMemoryPressureDurationUSec",
        "ManagedOOMMemoryPressureLimit",
        "ManagedOOMPreference",
        "ManagedOOMSwap",
        "MemoryHigh",
        "MemoryLow",
        "MemoryMax",
        "MemoryMin",
        "MemoryPressureThresholdUSec",
        "MemoryPressureWatch",
        "MemorySwapMax",
        "MemoryZSwapMax",
        "MemoryZSwapWriteback",
        "StartupAllowedCPUs",
        "StartupAllowedMemoryNodes",
        "StartupCPUWeight",
        "StartupIOWeight",
        "TasksMax",
    ],
    &[
        "IPAccounting",
        "IPAddressAllow",
        "IPAddressDeny",
        "IPEgressFilterPath",
        "IPIngressFilterPath",
        "NFTSet",
        "RestrictNetworkInterfaces",
        "SocketBindAllow",
        "SocketBindDeny",
    ],
];

/// The properties that the annotations ask for, by name.
///
/// # Errors
/// A property is not allowed, or its value cannot be read.
pub fn annotated(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    let mut keys: Vec<(&String, &String)> = annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(PREFIX))
        .collect();
    keys.sort();
    keys.into_iter().map(|(key, text)| property(key, text)).collect()
}

fn property(key: &str, text: &str) -> Result<Property> {
    let origin = format!("annotations[{key:?}]");
    let refuse = |message: String| Error::spec(origin.clone(), message);
    let name = &key[PREFIX.len()..];
    let mut value =
        parse(text).map_err(|reason| refuse(format!("{text:?} is no value of a property: {reason}")))?;
    let in_seconds = name
        .strip_suffix("Sec")
        .filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()));
    let name = match in_seconds {
        None => name.to_owned(),
        Some(stem) => {
            let micros = microseconds(&value)
                .ok_or_else(|| refuse(format!("{text:?}: a number of seconds, not negative, is allowed")))?;
            value = Value::U64(micros);
            format!("{stem}USec")
        }
    };
    if !ALLOWED.iter().any(|topic| topic.contains(&name.as_str())) {
        let message = format!(
            "{name:?} is not a property that a container may set; allowed are: {}",
            ALLOWED.concat().join(", ")
        );
        return Err(refuse(message));
    }
    Ok(Property::new(&name, value, &origin))
}

fn microseconds(value: &Value) -> Option<u64> {
    let whole = |seconds: i128| u64::try_from(seconds * 1_000_000).ok();
    match value {
        Value::Byte(seconds) => whole((*seconds).into()),
        Value::I16(seconds) => whole((*seconds).into()),
        Value::U16(seconds) => whole((*seconds).into()),
        Value::I32(seconds) => whole((*seconds).into()),
        Value::U32(seconds) => whole((*seconds).into()),
        Value::I64(seconds) => whole((*seconds).into()),
        Value::U64(seconds) => whole((*seconds).into()),
        Value::Double(seconds) if (0.0..1e12).contains(seconds) => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 10^18"
            )]
            let micros = (seconds * 1e6) as u64;
            Some(micros)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<String> {
        let annotations = HashMap::from([
            (format!("{PREFIX}{name}"), value.to_owned()),
            ("org.other".to_owned(), "x".to_owned()),
        ]);
        let properties = annotated(Some(&annotations))?;
        assert_eq!(properties.len(), 1);
        Ok(format!("{}={}", properties[0].name, properties[0].value))
    }

    #[test]
    fn values_and_seconds() {
        for (name, text, shown) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode=\"inactive-or-failed\"",
            ),
            (
                "TimeoutStopUSec",
                "uint64 123456789",
                "TimeoutStopUSec=uint64 123456789",
            ),
            ("TimeoutStopSec", "2", "TimeoutStopUSec=uint64 2000000"),
            ("RuntimeMaxSec", "1.5", "RuntimeMaxUSec=uint64 1500000"),
            (
                "After",
                "['a.service', 'b.service']",
                "After=[\"a.service\", \"b.service\"]",
            ),
            ("SendSIGKILL", "false", "SendSIGKILL=false"),
        ] {
            assert_eq!(one(name, text).unwrap(), shown);
        }
        assert_eq!(annotated(None).unwrap(), []);
    }

    #[test]
    fn others_are_refused() {
        for (name, text) in [
            ("Delegate", "false"),
            ("Slice", "'x.slice'"),
            ("PIDs", "[uint32 1]"),
            ("DeviceAllow", "[('/dev/sda', 'rwm')]"),
            ("ExecStart", "'x'"),
            ("ExecStop", "'x'"),
            ("FailureAction", "'reboot'"),
            ("JobTimeoutAction", "'poweroff'"),
            ("Wants", "['poweroff.target']"),
            ("Requires", "['poweroff.target']"),
            ("BindsTo", "['poweroff.target']"),
            ("Upholds", "['poweroff.target']"),
            ("OnFailure", "['poweroff.target']"),
            ("OnSuccess", "['poweroff.target']"),
            ("Conflicts", "['sshd.service']"),
            ("PropagatesStopTo", "['sshd.service']"),
            ("", "1"),
            ("../x", "1"),
            ("TimeoutStopUSec", "soon"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "'2'"),
            ("TimeoutStopSec", "uint64 18446744073709551615"),
            ("USec", "1"),
        ] {
            let error = one(name, text).unwrap_err();
            assert!(
                error.field().unwrap().starts_with("annotations["),
                "{name}={text}"
            );
        }
    }
}
