//! The main road: runs the steps in order. Each arm hands a step's fields to the function that does it; what one step
//! leaves for a later one is kept in [`Init`].

use runtime_core_program::{FdList, Frame, FrameKind, Program, Step, detail};

use crate::credentials;
use crate::exec::{self, Exec, Filter};
use crate::failure::{Failure, Outcome};
use crate::furnish;
use crate::hook::{self, Hook};
use crate::masks::{self, Masks};
use crate::mounts::{self, Bind, Change, Filesystem, Page};
use crate::nodes::{self, Node};
use crate::report::Report;
use crate::start;
use crate::sys::identity::{Scheduling, Sets};
use crate::sys::{Fd, Handle, fd, identity, process, sockets};
use crate::terminal::{self, Console};
use crate::text::Path;
use crate::{labels, namespaces, root, settings, stdio};

const CLONE_NEWUSER: u32 = 0x1000_0000;
/// More descriptors than init has open at any time beside those that it was given.
const OWN: u32 = 64;

/// What the steps leave for one another.
struct Init {
    report: Report,
    /// Whether a user namespace was entered.
    inside: bool,
    /// Whether a namespace was joined in which others are already.
    joined: bool,
    /// Whether the wait for start is over.
    started: bool,
    /// Whether others may trace this process.
    dumpable: bool,
    /// What the last Borrow brought.
    borrowed: Option<Fd>,
    /// The container's root.
    root: Option<Fd>,
    masks: Option<Masks>,
    /// The private procfs.
    proc: Option<Fd>,
    place: Option<FdList<'static>>,
    filter: Option<Filter<'static>>,
    program: Option<Path>,
    /// All steps.
    code: Program<'static>,
}

/// Runs the program; it ends with the execution of the container's own.
pub(crate) fn run(program: Program<'static>, report: Report) -> ! {
    let mut init = Init {
        report,
        inside: false,
        joined: false,
        started: false,
        dumpable: true,
        borrowed: None,
        root: None,
        masks: None,
        proc: None,
        place: None,
        filter: None,
        program: None,
        code: program,
    };
    let mut steps = program.steps().peekable();
    while let Some(step) = steps.next() {
        let (line, step) = match step {
            Ok(step) => step,
            Err(why) => init
                .report
                .fail(Failure::because(detail::MALFORMED).value(why as u64)),
        };
        init.report.at_line(line);
        let outcome = match step {
            Step::Seccomp { filter, flags } => {
                let last = matches!(steps.peek(), Some(Ok((_, Step::Exec { .. }))));
                init.filter(
                    Filter {
                        line,
                        instructions: filter,
                        flags,
                    },
                    last,
                )
            }
            step => init.step(step),
        };
        if let Err(failure) = outcome {
            init.report.fail(failure);
        }
    }
    // A program must end with Exec, which does not return.
    init.report.fail(Failure::malformed())
}

impl Init {
    fn step(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::Sync {} | Step::Tell {} | Step::Borrow {} | Step::Extend {} | Step::WaitStart { .. } => {
                self.meet(step)
            }
            Step::CloseStray { .. }
            | Step::Undumpable {}
            | Step::NewSession {}
            | Step::Join { .. }
            | Step::Unshare { .. }
            | Step::Fork {}
            | Step::ForkInto { .. }
            | Step::BecomeRoot { .. }
            | Step::EnterTime { .. }
            | Step::JoinCgroup { .. }
            | Step::AllCpus {}
            | Step::WriteSelf { .. } => self.isolate(step),
            Step::Propagation { .. }
            | Step::OpenRoot { .. }
            | Step::MountFs { .. }
            | Step::MountPage { .. }
            | Step::MountBind { .. }
            | Step::Remount { .. } => self.mount(step),
            Step::MakeDir { .. }
            | Step::Symlink { .. }
            | Step::ReplaceLink { .. }
            | Step::WriteFile { .. }
            | Step::CoverFile { .. }
            | Step::SetMode { .. }
            | Step::Device { .. }
            | Step::BindDevice { .. }
            | Step::PrepareMasks { .. }
            | Step::LabelFile { .. }
            | Step::Mask { .. }
            | Step::ReadOnlyPath { .. }
            | Step::ReadOnlyRoot {}
            | Step::Pivot {}
            | Step::MoveRoot {}
            | Step::Chroot {} => self.furnish(step),
            Step::OpenProc {}
            | Step::Sysctl { .. }
            | Step::ExecProfile { .. }
            | Step::ExecLabel { .. }
            | Step::KeyLabel { .. }
            | Step::Loopback {}
            | Step::Hostname { .. }
            | Step::Domainname { .. }
            | Step::Hook { .. }
            | Step::Console { .. }
            | Step::Stdio { .. }
            | Step::ReopenNull {}
            | Step::OwnStdio { .. }
            | Step::PlaceFds { .. } => self.equip(step),
            step => self.become_program(step),
        }
    }

    /// Meeting the parent, or whoever starts the container.
    #[inline(never)]
    fn meet(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::Tell {} => {
                self.report.say(FrameKind::Reached);
                Ok(())
            }
            Step::Sync {} => {
                self.report.say(FrameKind::Reached);
                self.report.wait().map(drop)
            }
            Step::Borrow {} => {
                self.report.say(FrameKind::Wanted);
                self.borrowed = self.report.wait()?;
                Ok(())
            }
            Step::Extend {} => {
                let wanted = Frame::new(FrameKind::Wanted, self.report.line());
                self.report.say_with(wanted, Some(self.root()?));
                match self.report.wait()? {
                    Some(program) => self.extend(program),
                    None => Ok(()),
                }
            }
            Step::WaitStart { listener } => {
                // Whoever gets into this waiting process must find nothing of the host's (CVE-2016-9962).
                (self.root, self.masks, self.proc, self.borrowed) = (None, None, None, None);
                namespaces::close_all_but(&[self.report.socket().number(), listener], self.place)?;
                self.started = true;
                let listener = (listener >= 0).then(|| Fd::own(listener));
                start::wait(&mut self.report, listener, self.inside)
            }
            _ => Err(Failure::malformed()),
        }
    }

    /// Runs the steps that the parent has found out from a look into the root.
    fn extend(&mut self, program: Fd) -> Outcome {
        for step in crate::entry::map(program)?.steps() {
            match step {
                Ok((
                    _,
                    step @ (Step::MakeDir { .. }
                    | Step::ReplaceLink { .. }
                    | Step::WriteFile { .. }
                    | Step::SetMode { .. }),
                )) => self.furnish(step)?,
                _ => return Err(Failure::malformed()),
            }
        }
        Ok(())
    }

    /// Namespaces, cgroups, what others may do with this process.
    #[inline(never)]
    fn isolate(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::CloseStray { keep } => namespaces::close_stray(keep, self.report.socket()),
            Step::Undumpable {} => {
                self.dumpable = false;
                identity::set_dumpable(false)
            }
            Step::NewSession {} => process::new_session(),
            Step::Join { namespace, kind } => {
                self.joined = true;
                self.inside |= kind == CLONE_NEWUSER;
                process::join(Fd::own(namespace).at(), kind)
            }
            Step::Unshare { namespaces } => process::unshare(namespaces),
            Step::Fork {} => namespaces::fork(&self.report),
            Step::ForkInto { cgroup } => namespaces::fork_into(&self.report, cgroup),
            Step::BecomeRoot { drop_groups } => {
                self.inside = true;
                namespaces::become_root(drop_groups, self.dumpable)
            }
            Step::EnterTime { offsets } => namespaces::enter_time(offsets, !self.joined),
            Step::JoinCgroup { tasks } => namespaces::join_cgroup(tasks),
            Step::AllCpus {} => {
                // Whoever bounds its children's CPUs by a filter instead of a cgroup keeps them where they are.
                let _ = identity::use_all_cpus();
                Ok(())
            }
            Step::WriteSelf { path, value } => settings::write_self(path, value),
            _ => Err(Failure::malformed()),
        }
    }

    /// The tree of mounts.
    #[inline(never)]
    fn mount(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::Propagation { path, flags } => mounts::propagate(path, flags),
            Step::OpenRoot {
                path,
                lent,
                clone,
                detach,
            } => {
                let lent = if lent {
                    Some(self.borrowed.take().ok_or(Failure::malformed())?)
                } else {
                    None
                };
                self.root = Some(root::take(path, lent, clone, detach)?);
                Ok(())
            }
            #[rustfmt::skip]
            Step::MountFs {
                fstype, source, options, attributes, recursive_set, recursive_clear, propagation, target, fallback,
                flags,
            } => {
                let change = Change { set: attributes, clear: 0, unasked: 0, recursive_set, recursive_clear, propagation };
                let wanted = Filesystem { kind: fstype, source, options, change, target, fallback, flags };
                mounts::mount_filesystem(self.root()?, &wanted)
            }
            #[rustfmt::skip]
            Step::MountPage {
                fstype, source, data, superblock, attributes, recursive_set, recursive_clear, propagation, target, flags,
            } => {
                let change = Change { set: attributes, clear: 0, unasked: 0, recursive_set, recursive_clear, propagation };
                mounts::mount_page(self.root()?, &Page { kind: fstype, source, data, superblock, change, target, flags })
            }
            Step::MountBind {
                source,
                target,
                set,
                clear,
                unasked,
                recursive_set,
                recursive_clear,
                propagation,
                flags,
            } => {
                let change = Change {
                    set,
                    clear,
                    unasked,
                    recursive_set,
                    recursive_clear,
                    propagation,
                };
                let lent = self.borrowed.take();
                mounts::mount_bind(
                    self.root()?,
                    &Bind {
                        source,
                        target,
                        change,
                        flags,
                    },
                    lent,
                )
            }
            Step::Remount {
                target,
                options,
                set,
                clear,
                recursive_set,
                recursive_clear,
                propagation,
            } => {
                let change = Change {
                    set,
                    clear,
                    unasked: 0,
                    recursive_set,
                    recursive_clear,
                    propagation,
                };
                mounts::remount(self.root()?, target, options, &change)
            }
            _ => Err(Failure::malformed()),
        }
    }

    /// Files of the root, what hides and protects them, and the change into it.
    #[inline(never)]
    fn furnish(&mut self, step: Step<'static>) -> Outcome {
        let root = self.root();
        match step {
            Step::MakeDir { path, mode } => nodes::make_dir(root?, path, mode),
            Step::Symlink { target, path } => nodes::make_link(root?, target, path),
            Step::ReplaceLink { target, path } => furnish::replace_link(root?, target, path),
            Step::WriteFile { path, content, mode } => furnish::write_file(root?, path, content, mode),
            Step::CoverFile { path, content, mode } => furnish::cover(root?, path, content, mode),
            Step::SetMode { path, mode } => furnish::set_mode(root?, path, mode),
            Step::Device {
                path,
                mode,
                device,
                uid,
                gid,
            } => nodes::make_node(
                root?,
                &Node {
                    path,
                    mode,
                    device,
                    uid,
                    gid,
                },
            ),
            Step::BindDevice {
                source,
                path,
                mode,
                device,
            } => nodes::bind_device(root?, source, path, mode, device),
            Step::PrepareMasks { label } => {
                self.masks = Some(masks::prepare(label)?);
                Ok(())
            }
            Step::LabelFile {
                path,
                label,
                may_fail,
            } => labels::set_on_file(root?, path, label, may_fail),
            Step::Mask { path } => {
                let root = root?;
                self.masks
                    .as_mut()
                    .ok_or(Failure::malformed())?
                    .put_on(root, path)
            }
            Step::ReadOnlyPath { path } => masks::make_read_only(root?, path),
            Step::ReadOnlyRoot {} => root::make_read_only(root?),
            Step::Pivot {} => root::pivot(root?),
            Step::MoveRoot {} => root::move_over(root?),
            Step::Chroot {} => root::change(root?),
            _ => Err(Failure::malformed()),
        }
    }

    /// The container's settings, hooks, terminal and descriptors.
    #[inline(never)]
    fn equip(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::OpenProc {} => {
                self.proc = Some(settings::open_proc(self.root().ok())?);
                Ok(())
            }
            Step::Sysctl { path, value } => settings::write_sysctl(self.proc()?, path, value),
            Step::ExecProfile { profile } => labels::set_exec_profile(self.proc()?, profile),
            Step::ExecLabel { label } => labels::set_exec_label(self.proc()?, label),
            Step::KeyLabel { label } => labels::set_key_label(self.proc()?, label),
            Step::Loopback {} => sockets::set_loopback_up(),
            Step::Hostname { name } => identity::set_host_name(name),
            Step::Domainname { name } => identity::set_domain_name(name),
            Step::Hook {
                path,
                args,
                env,
                home,
                cwd,
                head,
                tail,
                timeout,
            } => hook::run(
                &Hook {
                    path,
                    args,
                    env,
                    home,
                    cwd,
                    head,
                    tail,
                    timeout,
                },
                &mut self.report,
            ),
            Step::Console {
                bind,
                rows,
                columns,
                uid,
            } => terminal::open_console(
                self.root()?,
                &Console {
                    bind,
                    rows,
                    columns,
                    uid,
                },
                &self.report,
            ),
            Step::Stdio { input, output, error } => stdio::set_standard(input, output, error),
            Step::ReopenNull {} => stdio::reopen_null(self.root()?),
            Step::OwnStdio { uid } => stdio::give_standard(uid),
            Step::PlaceFds { fds } => {
                // Only Exec moves them: until then the low numbers may be this process's own.
                self.place = Some(fds);
                Ok(())
            }
            _ => Err(Failure::malformed()),
        }
    }

    /// Becoming the program.
    #[inline(never)]
    fn become_program(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::NewKeyring { name } => credentials::new_keyring(name),
            Step::NoNewPrivs {} => identity::set_no_new_privileges(),
            Step::Scheduler {
                policy,
                flags,
                nice,
                priority,
                runtime,
                deadline,
                period,
            } => {
                let size = Scheduling::SIZE;
                let wanted = Scheduling {
                    size,
                    policy,
                    flags,
                    nice,
                    priority,
                    runtime,
                    deadline,
                    period,
                };
                identity::set_scheduling(&wanted)
            }
            Step::IoPriority { value } => identity::set_io_priority(value),
            Step::Personality { persona } => identity::set_personality(persona),
            Step::MemoryPolicy { mode, nodes } => identity::set_memory_policy(mode, nodes),
            Step::Rlimit { resource, soft, hard } => process::limit(resource, soft, hard),
            Step::Umask { mask } => {
                process::set_umask(mask);
                Ok(())
            }
            Step::LimitBounding { keep } => credentials::limit_bounding(keep),
            Step::User {
                uid,
                gid,
                groups,
                set_groups,
            } => credentials::become_user(uid, gid, set_groups.then_some(groups), self.dumpable),
            Step::WorkDir { path, may_fail } => credentials::enter_work_dir(path, may_fail),
            Step::Capabilities {
                effective,
                permitted,
                inheritable,
                ambient,
            } => credentials::set_capabilities(
                Sets {
                    effective,
                    permitted,
                    inheritable,
                },
                ambient,
            ),
            Step::FindProgram { name, search } => {
                self.program = Some(exec::find(name, search)?);
                Ok(())
            }
            Step::Exec {
                args,
                env,
                home,
                keep,
            } => {
                let (place, filter) = (self.place.take(), self.filter.take());
                let program = self.program.as_ref().ok_or(Failure::malformed())?;
                exec::execute(
                    &Exec {
                        args,
                        env,
                        home,
                        keep,
                        place,
                        filter,
                    },
                    program,
                    &mut self.report,
                )
            }
            _ => Err(Failure::malformed()),
        }
    }

    fn filter(&mut self, filter: Filter<'static>, before_exec: bool) -> Outcome {
        if before_exec {
            self.filter = Some(filter);
            return Ok(());
        }
        self.close_before_filter()?;
        exec::load(&filter, &self.report)
    }

    fn proc(&self) -> Outcome<Handle> {
        self.proc.as_ref().map(Fd::at).ok_or(Failure::malformed())
    }

    /// Later closing may be refused by the filter, so that what no later step names is closed here.
    #[inline(never)]
    fn close_before_filter(&mut self) -> Outcome {
        (self.root, self.masks, self.proc, self.borrowed) = (None, None, None, None);
        let (mut listener, mut placed) = (-1, None);
        for (_, step) in self.code.steps().flatten() {
            match step {
                Step::WaitStart { listener: fd } => listener = fd,
                Step::PlaceFds { fds } => placed = Some(fds),
                _ => {}
            }
        }
        if listener >= 0 && !self.started {
            // The wait would have to give the page back under the filter.
            self.report.trace.leave_for_good();
        }
        let report = self.report.socket().number();
        namespaces::close_all_but(&[report, listener], placed)?;
        let numbers = placed.iter().flat_map(FdList::iter).chain([report, listener]);
        let highest = numbers.max().unwrap_or(0).max(0).cast_unsigned();
        let count = placed.map_or(0, |fds| u32::try_from(fds.len()).unwrap_or(u32::MAX));
        // A new descriptor has the lowest number that is free, and the placed ones are moved by their own count.
        fd::promise_bound(
            highest
                .saturating_add(count.saturating_mul(2))
                .saturating_add(OWN),
        );
        Ok(())
    }

    fn root(&self) -> Outcome<Handle> {
        self.root.as_ref().map(Fd::at).ok_or(Failure::malformed())
    }
}
