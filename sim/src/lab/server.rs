//! The lab's web server: a page, what is new for it, what it asks for. On 127.0.0.1 only.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{Stream, unfold};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::action::Action;
use super::board::{Feed, Shared};
use super::driver::{Input, PaceChange, drive};
use super::setup::Setup;
use crate::page::{LabPage, Shown, render, render_lab};
use crate::trace::End;

/// The least time between two pieces of news for one page.
const NEWS_EVERY: Duration = Duration::from_millis(40);

/// Larger requests are refused.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Why there is no lab.
#[derive(Debug)]
pub enum LabError {
    Runtime(std::io::Error),
    Listen { port: u16, why: std::io::Error },
    Serve(std::io::Error),
}

#[derive(Clone)]
struct Desk {
    shared: Arc<Shared>,
    inputs: Sender<Input>,
    /// True once the lab ends.
    ending: watch::Receiver<bool>,
}

/// Serves a lab until somebody presses Ctrl-C. `said` is called with the address once it can be reached.
///
/// # Errors
/// The port is taken, or something else that the system does not grant.
pub fn serve(setup: Setup, port: u16, said: impl FnOnce(&str)) -> Result<(), LabError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(LabError::Runtime)?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = listener.await.map_err(|why| LabError::Listen { port, why })?;
        let address = listener.local_addr().map_err(LabError::Serve)?;
        let shared = Arc::new(Shared::new(setup.clone()));
        let (inputs, taken) = channel();
        let (end, ending) = watch::channel(false);
        let desk = Desk { shared: shared.clone(), inputs: inputs.clone(), ending };
        let mut begun = shared.news();
        let driver = tokio::task::spawn_blocking(move || drive(setup, &taken, &shared));
        // The first page finds a lab.
        let _ = begun.changed().await;
        said(&format!("http://{address}/"));
        let served = axum::serve(listener, routes(desk)).with_graceful_shutdown(async move {
            asked_to_end().await;
            let _ = end.send(true);
        });
        let served = served.await.map_err(LabError::Serve);
        let _ = inputs.send(Input::End);
        let _ = driver.await;
        served
    })
}

/// Ctrl-C, or SIGTERM where there is such a thing.
async fn asked_to_end() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminated) = signal(SignalKind::terminate()) else {
            let _ = interrupted.await;
            return;
        };
        let both = async { terminated.recv().await };
        futures_util::future::select(Box::pin(interrupted), Box::pin(both)).await;
    }
    #[cfg(not(unix))]
    let _ = interrupted.await;
}

fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/news", get(news))
        .route("/do", post(act))
        .route("/pace", post(pace))
        .route("/new", post(new_lab))
        .route("/lab.scn", get(file))
        .route("/lab.html", get(timeline))
        .fallback(nothing_there)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(only_local))
        .with_state(desk)
}

/// Only whoever asks for this machine by a local name is served: no page from elsewhere, whose name was made to
/// resolve to this machine.
async fn only_local(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !["127.0.0.1", "localhost", "[::1]"].contains(&name) {
        let why = format!("host: found {host:?}, expected 127.0.0.1 or localhost");
        return refuse(StatusCode::FORBIDDEN, &why);
    }
    next.run(request).await
}

async fn page(State(desk): State<Desk>) -> Response {
    let board = desk.shared.board();
    let lab = LabPage {
        number: board.number,
        nodes: board.setup.nodes,
        seed: board.setup.seed,
        latency_ms: board.setup.latency_ms,
        mutant: board.setup.mutant.map(|mutant| mutant.name()),
    };
    let html = board.tape.with(|tape| render_lab(&lab, tape));
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")], html)
        .into_response()
}

/// Server-sent events: everything there is, then what is new.
async fn news(State(desk): State<Desk>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let follower = Follower::new(desk);
    Sse::new(unfold(follower, Follower::next)).keep_alive(KeepAlive::default())
}

struct Follower {
    shared: Arc<Shared>,
    feed: Feed,
    news: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    begun: bool,
    over: bool,
}

impl Follower {
    fn new(desk: Desk) -> Follower {
        desk.shared.watched(true);
        let number = desk.shared.board().number;
        Follower {
            feed: Feed::new(number),
            news: desk.shared.news(),
            shared: desk.shared,
            ending: desk.ending,
            begun: false,
            over: false,
        }
    }

    async fn next(mut self) -> Option<(Result<Event, Infallible>, Follower)> {
        if self.over || *self.ending.borrow() {
            return None;
        }
        if self.begun {
            tokio::time::sleep(NEWS_EVERY).await;
            let changed = self.news.changed();
            let ended = self.ending.changed();
            let first = futures_util::future::select(Box::pin(changed), Box::pin(ended));
            if let futures_util::future::Either::Right(_) = first.await {
                return None;
            }
        }
        self.begun = true;
        let (json, goes_on) = self.feed.next(&self.shared.board());
        self.over = !goes_on;
        Some((Ok(Event::default().data(json)), self))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.watched(false);
    }
}

async fn act(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    match read::<Action>(&headers, &body) {
        Ok(action) => ask(&desk, |done| Input::Act { action, done }).await,
        Err(refusal) => *refusal,
    }
}

async fn pace(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    match read::<PaceChange>(&headers, &body) {
        Ok(change) => ask(&desk, |done| Input::Pace { change, done }).await,
        Err(refusal) => *refusal,
    }
}

async fn new_lab(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    let mutant = desk.shared.board().setup.mutant;
    match read::<Setup>(&headers, &body) {
        Ok(setup) => {
            let setup = Setup { mutant, ..setup };
            ask(&desk, |done| Input::New { setup, done }).await
        }
        Err(refusal) => *refusal,
    }
}

/// Hands an input to the driver and waits for what it says.
async fn ask(
    desk: &Desk,
    input: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Input,
) -> Response {
    let (done, answer) = oneshot::channel();
    if desk.inputs.send(input(done)).is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the lab has ended");
    }
    match answer.await {
        Ok(Ok(())) => json(StatusCode::OK, "{}".to_owned()),
        Ok(Err(why)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the lab has ended"),
    }
}

async fn file(State(desk): State<Desk>) -> Response {
    let (done, answer) = oneshot::channel();
    if desk.inputs.send(Input::File { done }).is_err() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the lab has ended");
    }
    match answer.await {
        Ok(text) => download("text/plain; charset=utf-8", "lab.scn", text),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the lab has ended"),
    }
}

/// The timeline page of what has happened so far, as `scenario --html` writes it.
async fn timeline(State(desk): State<Desk>) -> Response {
    let (mut tape, label, trouble, digest) = {
        let board = desk.shared.board();
        let label = format!("a session of the lab, {} hosts", board.setup.nodes);
        let tape = board.tape.with(|tape| tape.clone());
        (tape, label, board.standing.trouble.clone(), board.standing.digest.clone())
    };
    let (kind, title) = match &trouble {
        None => ("open", "as the lab was left"),
        Some(_) => ("violated", "something went wrong"),
    };
    let evidence = trouble.unwrap_or_default();
    tape.finish(End { kind: kind.to_owned(), title: title.to_owned(), evidence, digest });
    let command = "cargo sim scenario lab.scn".to_owned();
    let html = render(&label, &[Shown { label: label.clone(), command, tape: &tape }]);
    download("text/html; charset=utf-8", "lab.html", html)
}

async fn nothing_there(request: Request) -> Response {
    let why = format!("nothing at {}", request.uri().path());
    refuse(StatusCode::NOT_FOUND, &why)
}

/// A request's body.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Box<Response>> {
    // A form of another site cannot say so.
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let why = format!("content-type: found {kind:?}, expected application/json");
        return Err(Box::new(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why)));
    }
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, &format!("the body: {error}"))))
}

fn refuse(status: StatusCode, why: &str) -> Response {
    json(status, serde_json::json!({ "error": why }).to_string())
}

fn json(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

fn download(kind: &'static str, name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition)], text).into_response()
}

impl std::fmt::Display for LabError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LabError::Runtime(why) | LabError::Serve(why) => write!(f, "the lab: {why}"),
            LabError::Listen { port, why } if why.kind() == std::io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "port {port} of 127.0.0.1 is in use; choose another with --port, or 0 for any \
                     free one"
                )
            }
            LabError::Listen { port, why } => write!(f, "port {port} of 127.0.0.1: {why}"),
        }
    }
}

impl std::error::Error for LabError {}
