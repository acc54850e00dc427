//! What the tests of zookeeper-client use of testcontainers, with processes in
//! place of containers: a `Container` of the image `zookeeper` is the server that
//! `$SUITES_LAUNCH/zkServer.sh start-foreground` starts, from the zoo.cfg that is
//! mounted, on a free port in place of 2181 unless its network is the host's.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub mod clients {
    #[derive(Default)]
    pub struct Cli;

    impl Cli {
        pub fn run<'d, I>(&'d self, image: crate::RunnableImage<I>) -> crate::Container<'d, I> {
            crate::Container::run(image)
        }
    }
}

pub mod core {
    pub use crate::{Container, Healthcheck, LogStream, RunnableImage, WaitFor};
}

pub mod images {
    pub mod generic {
        pub use crate::GenericImage;
    }
}

/// A server is healthy when it answers `srvr`, whatever the image would ask.
#[derive(Default)]
pub struct Healthcheck;

impl Healthcheck {
    pub fn with_cmd<T>(self, _: impl Iterator<Item = T>) -> Self {
        self
    }

    pub fn with_interval(self, _: Duration) -> Self {
        self
    }

    pub fn with_retries(self, _: u32) -> Self {
        self
    }
}

pub enum WaitFor {
    Healthcheck,
}

#[derive(Default)]
pub struct GenericImage {
    env: HashMap<String, String>,
}

impl GenericImage {
    /// Every tag is the one server under test.
    pub fn new(_name: &str, _tag: &str) -> Self {
        Self::default()
    }

    pub fn with_env_var(mut self, name: &str, value: String) -> Self {
        self.env.insert(name.to_owned(), value);
        self
    }

    pub fn with_healthcheck(self, _: Healthcheck) -> Self {
        self
    }

    pub fn with_wait_for(self, _: WaitFor) -> Self {
        self
    }
}

pub struct RunnableImage<I> {
    env: HashMap<String, String>,
    volumes: Vec<(PathBuf, String)>,
    host_network: bool,
    image: PhantomData<I>,
}

impl From<GenericImage> for RunnableImage<GenericImage> {
    fn from(image: GenericImage) -> Self {
        Self { env: image.env, volumes: vec![], host_network: false, image: PhantomData }
    }
}

impl<I> RunnableImage<I> {
    pub fn with_volume(mut self, (source, dest): (&str, &str)) -> Self {
        self.volumes.push((source.into(), dest.to_owned()));
        self
    }

    pub fn with_network(mut self, network: &str) -> Self {
        self.host_network = network == "host";
        self
    }

    fn volume(&self, dest: &str) -> Option<&Path> {
        self.volumes.iter().find(|v| v.1 == dest).map(|v| v.0.as_path())
    }
}

/// A server's process. Its directory is in TMPDIR, which whoever runs the tests removes.
pub struct Container<'d, I> {
    dir: PathBuf,
    flags: String,
    port: u16,
    child: Mutex<Option<Child>>,
    image: PhantomData<&'d I>,
}

impl<I> Container<'_, I> {
    fn run(image: RunnableImage<I>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("server-{}-{number}", process::id()));
        fs::create_dir_all(dir.join("data")).expect("make the server's directory");

        let mut config = match image.volume("/conf/zoo.cfg") {
            Some(path) => fs::read_to_string(path).expect("read zoo.cfg"),
            None => "dataDir=/data\nclientPort=2181\ntickTime=2000\ninitLimit=5\nsyncLimit=2\nmaxClientCnxns=60\n".to_owned(),
        };
        let data = image.volume("/data").map_or(dir.join("data"), Path::to_owned);
        let port = if image.host_network { own_port(&config, &data) } else { free_port() };
        config = config.replace("dataDir=/data", &format!("dataDir={}", data.display()));
        config = config.replace("lientPort=2181", &format!("lientPort={port}"));
        config += "admin.enableServer=false\n4lw.commands.whitelist=srvr,isro\n";
        let mut flags = image.env.get("SERVER_JVMFLAGS").cloned().unwrap_or_default();
        for (source, dest) in &image.volumes {
            config = config.replace(&format!("={dest}\n"), &format!("={}\n", source.display()));
            flags = flags.replace(&format!("={dest}"), &format!("={}", source.display()));
        }
        fs::write(dir.join("zoo.cfg"), config).expect("write zoo.cfg");
        let container = Self { dir, flags, port, child: Mutex::new(None), image: PhantomData };
        container.start();
        container
    }

    pub fn start(&self) {
        let launch = std::env::var("SUITES_LAUNCH").expect("SUITES_LAUNCH is not set");
        let log = File::options().create(true).append(true).open(self.log()).expect("open the server's log");
        let child = Command::new(Path::new(&launch).join("zkServer.sh"))
            .args(["start-foreground".as_ref(), self.dir.join("zoo.cfg").as_os_str()])
            .env("SERVER_JVMFLAGS", &self.flags)
            .stdout(log.try_clone().expect("share the server's log"))
            .stderr(log)
            .spawn()
            .expect("start the server");
        *self.child.lock().unwrap() = Some(child);
        await_that("the server serves", || {
            let ended = self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().unwrap());
            if let Some(status) = ended {
                panic!("the server ended with {status}: {}", fs::read_to_string(self.log()).unwrap_or_default());
            }
            ask(self.port, "srvr").is_some_and(|answer| answer.contains("Mode: "))
        });
    }

    pub fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill(); // an error means it is gone
            let _ = child.wait();
        }
    }

    pub fn get_host_port(&self, _port: u16) -> u16 {
        self.port
    }

    pub fn stdout(&self) -> LogStream {
        LogStream { port: self.port }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl<I> Drop for Container<'_, I> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Stands for what a server logs.
pub struct LogStream {
    port: u16,
}

impl LogStream {
    /// The only message that is waited for says that the server is read-only now.
    /// Servers have words of their own for that in their logs, and one in `isro`.
    pub fn wait_for_message(&self, message: &str) -> Result<(), String> {
        if message != "Read-only server started" {
            return Err(format!("nobody knows how to wait for {message:?}"));
        }
        await_that("the server is read-only", || ask(self.port, "isro").is_some_and(|answer| answer == "ro"));
        Ok(())
    }
}

/// The port behind the semicolon of a member's own line.
fn own_port(config: &str, data: &Path) -> u16 {
    let id = fs::read_to_string(data.join("myid")).expect("read myid");
    let prefix = format!("server.{}=", id.trim());
    let line = config.lines().find(|line| line.starts_with(&prefix)).expect("a line of its own");
    line.rsplit([':', ';']).next().and_then(|port| port.parse().ok()).expect("a client port in its line")
}

/// A port that nobody has, below those that Linux gives to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port = 10_000 + (process::id() * 101 + NEXT.fetch_add(1, Ordering::Relaxed)) % 22_000;
        if TcpListener::bind(("127.0.0.1", port as u16)).is_ok() {
            return port as u16;
        }
    }
}

/// The answer to a four-letter word.
fn ask(port: u16, word: &str) -> Option<String> {
    let mut conn = TcpStream::connect(("127.0.0.1", port)).ok()?;
    conn.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    conn.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    conn.read_to_string(&mut answer).ok()?;
    let _ = conn.shutdown(Shutdown::Both); // an error means that the server has closed it
    Some(answer)
}

fn await_that(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180); // a JVM on a busy machine takes long
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(50));
    }
}
