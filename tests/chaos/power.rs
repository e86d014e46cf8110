//! The power of a machine with the embedded store is cut while people log in. What was answered is on the disk: a link
//! that was minted can be used afterwards, and a message that was answered 200 leads to a callback and to a
//! reply.
//!
//! The store lies on an ext4 of its own in a loop image. A cut stops this file system and its journal at once: whatever
//! was not flushed is gone, and the next mount replays the journal, as after a loss of power. The image below keeps
//! what the file system has written to it: that a disk obeys a flush is not tested here.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use countersign::random;
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    Plan,
    daemon::{TestStore, World},
    load::{PendingLogin, SentLogin, UNLIMITED, copies, create_login, differ, first_callbacks, replica},
    process::Process,
    report::{ChaosReport, say},
    wait::until_or,
};

const CUTS: usize = 20;
const AT_ONCE: usize = 24;
/// Every so many links wait for the power to come back.
const LEFT: usize = 4;
const IMAGE_BYTES: u64 = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(90);
/// `EXT4_IOC_SHUTDOWN` without a flush of the journal, as `ioctl` takes it.
const SHUTDOWN: &str = "import fcntl, os, struct, sys; \
     fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

pub(crate) async fn run(plan: &Plan, report: &mut ChaosReport) {
    let disk = match PowerCutFilesystem::new() {
        Ok(disk) => disk,
        Err(why) => return report.judge("an ext4 in a loop image can be mounted", false, &why),
    };
    let mut world = World::new(TestStore::directory());
    world.store = Some(format!("url = \"embedded:{}\"", disk.mounted().join("data").display()));
    world.instance_lines = UNLIMITED.to_owned();
    let (mut taken, mut left, cuts) = (AnsweredLogins::default(), Left::default(), CUTS * plan.scale);
    for _ in 0..cuts {
        let process = replica(&world).await;
        taken.finish(&process, left).await;
        left = until_a_cut(&disk, &process, &mut taken).await;
        process.kill();
        disk.unmount();
        disk.mount().unwrap();
    }
    let process = replica(&world).await;
    taken.finish(&process, left).await;
    let deadline = Instant::now() + TIMEOUT;
    while !taken.missing(&world).is_nothing() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    process.terminate();
    judge(&world, &taken, cuts, report);
}

/// What people began before a cut.
#[derive(Default)]
struct Left {
    /// Links whose message has not been sent yet.
    unused: Vec<PendingLogin>,
    /// Sent, and not answered.
    unanswered: Vec<PendingLogin>,
}

/// What was answered.
#[derive(Default)]
struct AnsweredLogins {
    logins: Vec<SentLogin>,
    /// Links whose message two people sent, because the first one was not answered.
    disputed: Vec<SentLogin>,
    /// Of the logins, those whose link was minted before a cut.
    across: usize,
}

impl AnsweredLogins {
    /// Once the power is back.
    async fn finish(&mut self, process: &Process, left: Left) {
        self.across += left.unused.len();
        self.logins.extend(join_all(left.unused.iter().map(|person| person.send_with_retries(process))).await);
        let others: Vec<PendingLogin> = left.unanswered.into_iter().map(PendingLogin::another).collect();
        self.disputed.extend(join_all(others.iter().map(|person| person.send_with_retries(process))).await);
    }

    fn missing(&self, world: &World) -> Missing {
        let delivered = first_callbacks(&world.receiver);
        let chats =
            world.gateway.requests().into_iter().map(|reply| reply.json()["chatId"].as_str().unwrap().to_owned());
        let chats: HashSet<String> = chats.collect();
        let all = self.logins.iter().chain(&self.disputed);
        Missing {
            callbacks: all.filter(|login| !delivered.contains_key(&login.uuid)).count(),
            replies: self.logins.iter().filter(|login| !chats.contains(&format!("{}@c.us", login.number))).count(),
        }
    }
}

#[derive(Clone, Copy)]
struct Missing {
    callbacks: usize,
    replies: usize,
}

impl Missing {
    const fn is_nothing(self) -> bool {
        self.callbacks == 0 && self.replies == 0
    }
}

/// People log in, up to 255 before the cut, and whatever they are answered counts, even after it.
async fn until_a_cut(disk: &PowerCutFilesystem, process: &Process, taken: &mut AnsweredLogins) -> Left {
    let (over, serial, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (logins, left) = (Mutex::new(Vec::new()), Mutex::new(Left::default()));
    let one = async || {
        while !over.load(Ordering::Relaxed) {
            let Some(person) = create_login(process, json!({})).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            if serial.fetch_add(1, Ordering::Relaxed).is_multiple_of(LEFT) {
                left.lock().unwrap().unused.push(person);
                continue;
            }
            match person.send_message(process).await {
                Some(login) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    logins.lock().unwrap().push(login);
                }
                None => left.lock().unwrap().unanswered.push(person),
            }
        }
    };
    let cut = async {
        let enough = usize::from(random::bytes::<1>()[0]);
        let number = || answered.load(Ordering::Relaxed);
        let seen = || format!("{enough} people have logged in: {} have; the daemon: {}", number(), process.output());
        until_or(seen, async || number() >= enough).await;
        tokio::time::sleep(Duration::from_millis(20).mul_f64(random::fraction())).await;
        tokio::task::block_in_place(|| disk.cut());
        tokio::time::sleep(Duration::from_millis(200)).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all((0..AT_ONCE).map(|_| one())), cut);
    taken.logins.extend(logins.into_inner().unwrap());
    left.into_inner().unwrap()
}

fn judge(world: &World, taken: &AnsweredLogins, cuts: usize, report: &mut ChaosReport) {
    let copies = copies(&world.receiver);
    let double = copies.values().filter(|copies| differ(copies)).count();
    let repeated: usize = copies.values().map(|copies| copies.len() - 1).sum();
    let AnsweredLogins { logins, disputed, across } = taken;
    let Missing { callbacks, replies } = taken.missing(world);
    say(format_args!(
        "{cuts} cuts: {} messages answered, {across} of them for links from before a cut, and {} sent again by another \
         person: {callbacks} lost, {double} double, {repeated} repeated, {replies} without a reply",
        logins.len(),
        disputed.len()
    ));
    report.judge("callbacks lost", callbacks == 0, &callbacks.to_string());
    report.judge("people without a reply", replies == 0, &replies.to_string());
    report.judge("links with differing callbacks", double == 0, &double.to_string());
}

/// A file system of its own, whose power can be cut.
struct PowerCutFilesystem(TempDir);

impl PowerCutFilesystem {
    fn new() -> Result<Self, String> {
        let disk = Self(tempfile::tempdir().unwrap());
        File::create(disk.image()).and_then(|image| image.set_len(IMAGE_BYTES)).unwrap();
        fs::create_dir(disk.mounted()).unwrap();
        run_command("mkfs.ext4", &[Path::new("-q"), Path::new("-F"), &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.0.path().join("mounted")
    }

    fn mount(&self) -> Result<(), String> {
        run_command("mount", &[Path::new("-o"), Path::new("loop"), &self.image(), &self.mounted()])
    }

    fn unmount(&self) {
        run_command("umount", &[&self.mounted()]).unwrap();
    }

    fn cut(&self) {
        run_command("python3", &[Path::new("-c"), Path::new(SHUTDOWN), &self.mounted()]).unwrap();
    }
}

impl Drop for PowerCutFilesystem {
    fn drop(&mut self) {
        let _ = run_command("umount", &[Path::new("--lazy"), &self.mounted()]);
    }
}

fn run_command(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let error = || format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    output.status.success().then_some(()).ok_or_else(error)
}
