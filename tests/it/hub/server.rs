//! A model hub on this machine that does what real ones do on bad days.
use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What a client asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    /// The first byte that it wants.
    pub(super) from: Option<usize>,
    pub(super) token: Option<String>,
    /// How many requests there were for this path before.
    pub(super) nth: usize,
}

/// How a request is answered; by default as it should be.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    /// A status in place of the file.
    pub(super) status: Option<u16>,
    /// Headers beside the usual ones.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Close the connection after so many bytes of the body.
    pub(super) cut: Option<usize>,
    /// Change this byte of the file.
    pub(super) flip: Option<usize>,
    /// Say that the body is so long.
    pub(super) claim: Option<usize>,
    /// Send everything, whatever was asked for.
    pub(super) whole: bool,
    /// Say in `Content-Range` that the part begins here.
    pub(super) start: Option<usize>,
    /// Say nothing for so long before the body.
    pub(super) silence: Option<Duration>,
    /// Send 1000 bytes, then wait for so long, and so on.
    pub(super) drip: Option<Duration>,
    /// Do not say how long the body is.
    pub(super) unsized_body: bool,
    /// Send this in place of the file.
    pub(super) body: Option<Vec<u8>>,
    /// Leave the tag out.
    pub(super) untagged: bool,
}

type Plan = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A running hub; it ends with the tests.
#[derive(Clone)]
pub(super) struct Hub {
    pub(super) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    files: HashMap<String, (Vec<u8>, String)>,
    plan: Mutex<Plan>,
    asked: Mutex<Vec<Asked>>,
    /// How many bodies are being sent, and how many were at most.
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Hub {
    /// A hub that has `files` by their paths, each with its tag.
    pub(super) fn new(files: impl IntoIterator<Item = (String, (Vec<u8>, String))>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let plan: Plan = Box::new(|_| Reply::default());
        let files = files.into_iter().collect();
        let (asked, running, most) = (Mutex::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared { files, plan: Mutex::new(plan), asked, running, most });
        let server = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || server.answer(stream)); // a client that went away is no fault
            }
        });
        Self { address, shared }
    }

    /// From now on answers as `plan` says.
    pub(super) fn answers(&self, plan: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> &Self {
        *self.shared.plan.lock().unwrap() = Box::new(plan);
        self
    }

    /// How many files were sent at once at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// What was asked for since the last call.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
        let mut asked = Asked { path, from: None, token: None, nth: 0 };
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match &*name.to_ascii_lowercase() {
                "range" => asked.from = value.trim_start_matches("bytes=").trim_end_matches('-').parse().ok(),
                "authorization" => asked.token = Some(value.to_owned()),
                _ => {}
            }
        }
        {
            let mut all = self.asked.lock().unwrap();
            asked.nth = all.iter().filter(|other| other.path == asked.path).count();
            all.push(asked.clone());
        }
        let reply = (self.plan.lock().unwrap())(&asked);
        let (head, body) = self.reply(&asked, &reply);
        self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let sent = send(&mut stream, &head, &body, &reply);
        self.running.fetch_sub(1, Ordering::SeqCst);
        sent
    }

    fn reply(&self, asked: &Asked, reply: &Reply) -> (String, Vec<u8>) {
        let file = self.files.get(&asked.path).filter(|_| reply.status.is_none());
        let Some((bytes, tag)) = file else {
            let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status.unwrap_or(404));
            reply.headers.iter().for_each(|(name, value)| write!(head, "{name}: {value}\r\n").unwrap());
            return (head + "Content-Length: 2\r\n\r\n", b"no".to_vec());
        };
        let mut bytes = reply.body.clone().unwrap_or_else(|| bytes.clone());
        if let Some(byte) = reply.flip.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x55;
        }
        let whole = bytes.len();
        let from = asked.from.filter(|_| !reply.whole);
        let mut body = bytes.split_off(from.unwrap_or(0).min(whole));
        let mut head = match from {
            Some(from) if from >= whole => {
                body.clear();
                format!("HTTP/1.1 416 X\r\nContent-Range: bytes */{whole}\r\n")
            }
            Some(from) => {
                let start = reply.start.unwrap_or(from);
                format!("HTTP/1.1 206 X\r\nContent-Range: bytes {start}-{}/{whole}\r\n", whole - 1)
            }
            None => "HTTP/1.1 200 OK\r\n".into(),
        };
        if !reply.untagged {
            write!(head, "ETag: \"{tag}\"\r\n").unwrap();
        }
        reply.headers.iter().for_each(|(name, value)| write!(head, "{name}: {value}\r\n").unwrap());
        if !reply.unsized_body {
            write!(head, "Content-Length: {}\r\n", reply.claim.unwrap_or(body.len())).unwrap();
        }
        head += "Connection: close\r\n\r\n";
        body.truncate(reply.cut.unwrap_or(usize::MAX));
        (head, body)
    }
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8], reply: &Reply) -> Option<()> {
    stream.write_all(head.as_bytes()).ok()?;
    thread::sleep(reply.silence.unwrap_or_default());
    for piece in body.chunks(if reply.drip.is_some() { 1000 } else { 1 << 16 }) {
        stream.write_all(piece).ok()?;
        thread::sleep(reply.drip.unwrap_or_default());
    }
    stream.flush().ok()
}
