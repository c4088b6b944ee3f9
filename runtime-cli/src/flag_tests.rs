//! Which test shows that an option does what its help says. A new option needs a line here, and a line needs a test
//! that uses the option: none is parsed and ignored.

use std::path::Path;

use crate::args::Flag;
use crate::cmd::ALL;
use crate::session::GLOBALS;

const FLAGS: &str = "runtime-cli/tests/flags.rs";
const LINE: &str = "runtime-cli/tests/command_line.rs";
const DEVICES: &str = "runtime-cli/tests/devices.rs";
const ROOTLESS: &str = "runtime-cli/tests/rootless.rs";
const CRIU: &str = "runtime-cli/tests/checkpoint.rs";
const TRACE: &str = "runtime-cli/tests/trace.rs";
const OPTIONS: &str = "runtime-cli/tests/criu_options.rs";

/// Command (empty: global), option, file, test.
const TESTS: &[(&str, &str, &str, &str)] = &[
    ("", "debug", LINE, "debug_lines_go_where_the_log_goes"),
    ("", "log", LINE, "the_log_goes_to_a_file_by_both_spellings"),
    (
        "",
        "log-format",
        LINE,
        "with_a_log_file_the_error_is_in_both_places_and_the_json_is_one_line",
    ),
    ("", "log-level", LINE, "the_log_level_chooses_what_is_logged"),
    (
        "",
        "root",
        LINE,
        "a_missing_state_directory_that_was_named_is_an_error_and_is_not_made",
    ),
    (
        "",
        "trace",
        TRACE,
        "a_run_has_all_steps_in_order_and_the_program_finds_no_page",
    ),
    (
        "",
        "trace-format",
        TRACE,
        "the_file_is_a_new_one_and_what_cannot_be_is_said_with_the_flag",
    ),
    (
        "",
        "systemd-cgroup",
        LINE,
        "the_systemd_driver_is_refused_where_no_systemd_runs",
    ),
    (
        "",
        "cgroup-manager",
        FLAGS,
        "a_disabled_cgroup_manager_makes_no_cgroup",
    ),
    (
        "",
        "rootless",
        ROOTLESS,
        "a_refused_cgroup_is_tolerated_unless_told_otherwise",
    ),
    (
        "create",
        "bundle",
        FLAGS,
        "create_takes_bundle_and_configuration_by_name",
    ),
    (
        "create",
        "config",
        FLAGS,
        "create_takes_bundle_and_configuration_by_name",
    ),
    (
        "create",
        "console-socket",
        FLAGS,
        "a_console_socket_gets_the_master",
    ),
    (
        "create",
        "pidfd-socket",
        FLAGS,
        "pid_files_and_pidfds_name_the_first_process",
    ),
    (
        "create",
        "pid-file",
        FLAGS,
        "pid_files_and_pidfds_name_the_first_process",
    ),
    (
        "create",
        "no-pivot",
        FLAGS,
        "without_pivot_the_root_is_the_containers_all_the_same",
    ),
    (
        "create",
        "no-new-keyring",
        FLAGS,
        "without_a_new_keyring_the_callers_stays",
    ),
    (
        "create",
        "preserve-fds",
        LINE,
        "a_closed_descriptor_to_preserve_is_named",
    ),
    (
        "run",
        "bundle",
        FLAGS,
        "run_takes_bundle_and_configuration_by_name",
    ),
    (
        "run",
        "config",
        FLAGS,
        "run_takes_bundle_and_configuration_by_name",
    ),
    ("run", "console-socket", FLAGS, "a_console_socket_gets_the_master"),
    (
        "run",
        "pidfd-socket",
        FLAGS,
        "pid_files_and_pidfds_name_the_first_process",
    ),
    (
        "run",
        "pid-file",
        FLAGS,
        "pid_files_and_pidfds_name_the_first_process",
    ),
    (
        "run",
        "detach",
        FLAGS,
        "pid_files_and_pidfds_name_the_first_process",
    ),
    ("run", "keep", FLAGS, "run_keeps_the_container_when_told_to"),
    (
        "run",
        "no-subreaper",
        FLAGS,
        "run_adopts_what_the_container_leaves_behind",
    ),
    (
        "run",
        "no-pivot",
        FLAGS,
        "without_pivot_the_root_is_the_containers_all_the_same",
    ),
    (
        "run",
        "no-new-keyring",
        FLAGS,
        "without_a_new_keyring_the_callers_stays",
    ),
    (
        "run",
        "preserve-fds",
        FLAGS,
        "descriptors_are_preserved_by_number",
    ),
    (
        "exec",
        "console-socket",
        FLAGS,
        "a_console_socket_gets_the_master",
    ),
    ("exec", "pidfd-socket", FLAGS, "exec_detaches_and_tells_the_pid"),
    ("exec", "cwd", FLAGS, "exec_changes_what_its_options_name"),
    ("exec", "env", FLAGS, "exec_changes_what_its_options_name"),
    ("exec", "tty", FLAGS, "exec_changes_what_its_options_name"),
    ("exec", "user", FLAGS, "exec_changes_what_its_options_name"),
    (
        "exec",
        "additional-gids",
        FLAGS,
        "exec_changes_what_its_options_name",
    ),
    ("exec", "process", FLAGS, "exec_takes_the_description_from_a_file"),
    ("exec", "detach", FLAGS, "exec_detaches_and_tells_the_pid"),
    ("exec", "pid-file", FLAGS, "exec_detaches_and_tells_the_pid"),
    (
        "exec",
        "process-label",
        FLAGS,
        "exec_labels_are_set_or_refused_by_name",
    ),
    (
        "exec",
        "apparmor",
        FLAGS,
        "exec_labels_are_set_or_refused_by_name",
    ),
    (
        "exec",
        "no-new-privs",
        FLAGS,
        "exec_changes_what_its_options_name",
    ),
    ("exec", "cap", FLAGS, "exec_changes_what_its_options_name"),
    (
        "exec",
        "preserve-fds",
        FLAGS,
        "descriptors_are_preserved_by_number",
    ),
    (
        "exec",
        "cgroup",
        FLAGS,
        "exec_starts_in_a_cgroup_below_the_containers",
    ),
    (
        "exec",
        "ignore-paused",
        FLAGS,
        "exec_in_a_paused_container_needs_to_be_asked_for",
    ),
    (
        "create",
        "device",
        DEVICES,
        "create_and_plan_take_the_same_options",
    ),
    (
        "create",
        "cdi-spec-dir",
        DEVICES,
        "create_and_plan_take_the_same_options",
    ),
    (
        "create",
        "gpu-config",
        DEVICES,
        "the_configuration_file_says_who_else_is_heard",
    ),
    (
        "create",
        "native-hooks",
        DEVICES,
        "known_hooks_are_done_without_their_programs_unless_told_otherwise",
    ),
    (
        "run",
        "device",
        DEVICES,
        "devices_come_from_the_folders_that_are_named",
    ),
    (
        "run",
        "cdi-spec-dir",
        DEVICES,
        "devices_come_from_the_folders_that_are_named",
    ),
    (
        "run",
        "gpu-config",
        DEVICES,
        "the_configuration_file_says_who_else_is_heard",
    ),
    (
        "run",
        "native-hooks",
        DEVICES,
        "known_hooks_are_done_without_their_programs_unless_told_otherwise",
    ),
    ("plan", "device", DEVICES, "create_and_plan_take_the_same_options"),
    (
        "plan",
        "cdi-spec-dir",
        DEVICES,
        "create_and_plan_take_the_same_options",
    ),
    (
        "plan",
        "native-hooks",
        DEVICES,
        "known_hooks_are_done_without_their_programs_unless_told_otherwise",
    ),
    (
        "plan",
        "gpu-config",
        DEVICES,
        "create_and_plan_take_the_same_options",
    ),
    ("gpu", "format", DEVICES, "gpu_list_shows_what_can_be_asked_for"),
    (
        "gpu",
        "cdi-spec-dir",
        DEVICES,
        "gpu_list_shows_what_can_be_asked_for",
    ),
    (
        "gpu",
        "gpu-config",
        DEVICES,
        "gpu_list_shows_what_can_be_asked_for",
    ),
    (
        "gpu",
        "kind",
        DEVICES,
        "gpu_cdi_generate_writes_a_file_that_can_be_asked_from",
    ),
    (
        "gpu",
        "hook",
        DEVICES,
        "gpu_cdi_generate_writes_a_file_that_can_be_asked_from",
    ),
    (
        "gpu",
        "output",
        DEVICES,
        "gpu_cdi_generate_writes_a_file_that_can_be_asked_from",
    ),
    ("kill", "all", FLAGS, "kill_all_reaches_every_process"),
    ("kill", "regex", FLAGS, "kill_takes_a_regular_expression"),
    (
        "delete",
        "force",
        FLAGS,
        "delete_takes_a_regular_expression_and_force",
    ),
    (
        "delete",
        "regex",
        FLAGS,
        "delete_takes_a_regular_expression_and_force",
    ),
    ("list", "format", FLAGS, "list_and_ps_have_two_formats"),
    ("list", "quiet", FLAGS, "list_and_ps_have_two_formats"),
    ("ps", "format", FLAGS, "list_and_ps_have_two_formats"),
    (
        "plan",
        "format",
        FLAGS,
        "plan_has_two_formats_and_takes_a_configuration_by_name",
    ),
    (
        "plan",
        "config",
        FLAGS,
        "plan_has_two_formats_and_takes_a_configuration_by_name",
    ),
    (
        "plan",
        "no-pivot",
        FLAGS,
        "without_pivot_the_root_is_the_containers_all_the_same",
    ),
    (
        "plan",
        "no-new-keyring",
        FLAGS,
        "without_a_new_keyring_the_callers_stays",
    ),
    ("spec", "bundle", LINE, "spec_takes_another_name"),
    ("spec", "file", LINE, "spec_takes_another_name"),
    ("spec", "rootless", LINE, "spec_writes_a_configuration_once"),
    (
        "man",
        "output",
        LINE,
        "completion_and_manual_are_made_for_every_command",
    ),
    ("info", "format", LINE, "info_tells_all_and_doctor_what_is_wrong"),
    (
        "doctor",
        "format",
        LINE,
        "info_tells_all_and_doctor_what_is_wrong",
    ),
    (
        "update",
        "blkio-weight",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-period",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-quota",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-burst",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-share",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-rt-period",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-rt-runtime",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpuset-cpus",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpuset-mems",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "kernel-memory",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "kernel-memory-tcp",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "memory",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "cpu-idle",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "memory-reservation",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "memory-swap",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "pids-limit",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "l3-cache-schema",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "mem-bw-schema",
        FLAGS,
        "update_changes_the_limit_that_an_option_names",
    ),
    (
        "update",
        "resources",
        FLAGS,
        "update_reads_limits_from_a_file_and_from_standard_input",
    ),
    ("events", "interval", FLAGS, "events_come_once_or_at_an_interval"),
    ("events", "stats", FLAGS, "events_come_once_or_at_an_interval"),
    (
        "checkpoint",
        "image-path",
        CRIU,
        "a_pre_dump_is_the_parent_of_the_next",
    ),
    (
        "checkpoint",
        "work-path",
        OPTIONS,
        "logs_go_to_the_working_directory",
    ),
    (
        "checkpoint",
        "parent-path",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "leave-running",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "tcp-established",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "tcp-skip-in-flight",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "link-remap",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "ext-unix-sk",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "shell-job",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "lazy-pages",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "page-server",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "file-locks",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "pre-dump",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "manage-cgroups-mode",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "empty-ns",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "auto-dedup",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "network-lock",
        OPTIONS,
        "checkpoint_asks_criu_for_what_its_options_name",
    ),
    (
        "checkpoint",
        "status-fd",
        OPTIONS,
        "checkpoint_writes_to_the_status_descriptor",
    ),
    ("restore", "console-socket", CRIU, "a_terminal_is_handed_over"),
    ("restore", "image-path", CRIU, "the_exit_code_comes_back"),
    (
        "restore",
        "work-path",
        OPTIONS,
        "logs_go_to_the_working_directory",
    ),
    (
        "restore",
        "tcp-established",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "tcp-close",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "ext-unix-sk",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "shell-job",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "file-locks",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "manage-cgroups-mode",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "empty-ns",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "auto-dedup",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "lazy-pages",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "lsm-profile",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "lsm-mount-context",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "network-lock",
        OPTIONS,
        "restore_asks_criu_for_what_its_options_name",
    ),
    (
        "restore",
        "bundle",
        OPTIONS,
        "restore_takes_bundle_and_configuration_by_name",
    ),
    (
        "restore",
        "config",
        OPTIONS,
        "restore_takes_bundle_and_configuration_by_name",
    ),
    ("restore", "detach", CRIU, "a_terminal_is_handed_over"),
    ("restore", "pid-file", CRIU, "the_exit_code_comes_back"),
    (
        "restore",
        "no-subreaper",
        OPTIONS,
        "restore_adopts_what_is_left_behind",
    ),
    (
        "restore",
        "no-pivot",
        OPTIONS,
        "restore_says_that_no_pivot_means_nothing",
    ),
];

/// Every option with its command.
fn options() -> impl Iterator<Item = (&'static str, &'static Flag)> {
    let globals = GLOBALS.iter().map(|flag| ("", flag));
    globals.chain(
        ALL.iter()
            .flat_map(|command| command.flags.iter().map(|flag| (command.name, flag))),
    )
}

#[test]
fn every_option_has_a_test() {
    for (command, flag) in options() {
        let lines = TESTS
            .iter()
            .filter(|(of, long, ..)| *of == command && *long == flag.long);
        assert_eq!(
            lines.count(),
            1,
            "the option --{} of {command:?} needs one line in flag_tests.rs with the test that shows what it does",
            flag.long
        );
    }
}

#[test]
fn every_line_names_a_test_that_uses_the_option() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    for (command, long, file, test) in TESTS {
        assert!(
            options().any(|(of, flag)| of == *command && flag.long == *long),
            "{command} has no option --{long}"
        );
        let source = std::fs::read_to_string(workspace.join(file)).expect("a file of tests");
        let (before, rest) = source
            .split_once(&format!("\n#[test]\nfn {test}("))
            .unwrap_or_else(|| panic!("{file} has no test {test}"));
        let body = rest.split_once("\n}\n").unwrap_or_default().0;
        // A table that the test reads stands right before it.
        let table = before.rsplit_once("\n}\n").unwrap_or_default().1;
        let body = format!("{table}{body}");
        assert!(
            body.contains(&format!("\"--{long}")),
            "{file}: {test} does not use --{long}"
        );
    }
}
