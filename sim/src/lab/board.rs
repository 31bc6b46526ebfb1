//! What the driver of a lab shows to the pages that look at it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::session::{Said, Standing};
use super::setup::Setup;
use crate::page::Reader;
use crate::trace::Recorder;

/// How simulated time goes.
#[derive(Copy, Clone, PartialEq, Debug, Serialize)]
pub struct Pace {
    pub paused: bool,
    /// Simulated seconds per second.
    pub speed: f64,
    /// Why time stands still although nobody paused it.
    pub held: Option<Held>,
}

/// What holds time up.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// The tape has as much on it as a page can show.
    Full,
    /// A node has broken one of its own invariants, or the lab could not begin.
    Fallen,
}

/// The lab of the moment.
#[derive(Debug)]
pub struct Board {
    /// Counts the labs of this process.
    pub number: u64,
    pub setup: Setup,
    pub tape: Recorder,
    pub pace: Pace,
    pub standing: Standing,
    pub said: Vec<Said>,
}

/// The board, and whoever waits for news.
#[derive(Debug)]
pub struct Shared {
    board: Mutex<Board>,
    news: watch::Sender<u64>,
    watchers: AtomicUsize,
}

impl Shared {
    pub fn new(setup: Setup) -> Shared {
        let board = Board {
            number: 0,
            setup,
            tape: Recorder::new(),
            pace: Pace { paused: false, speed: 1.0, held: None },
            standing: Standing::default(),
            said: Vec::new(),
        };
        let (news, _) = watch::channel(0);
        Shared { board: Mutex::new(board), news, watchers: AtomicUsize::new(0) }
    }

    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody that there is something new.
    pub fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Somebody looks, or looks away.
    pub fn watched(&self, begins: bool) {
        if begins {
            self.watchers.fetch_add(1, Ordering::SeqCst);
        } else {
            self.watchers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a page is open. Nobody can see a lab without one, so its time stands still.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::SeqCst) > 0
    }
}

/// Tells one page what is new on the board.
#[derive(Debug)]
pub struct Feed {
    number: u64,
    reader: Reader,
    /// By line: whether its reply was told.
    told: Vec<bool>,
}

#[derive(Serialize)]
struct News<'a> {
    lab: u64,
    pace: Pace,
    standing: &'a Standing,
    /// Lines by number that are new, or have got their reply.
    said: Vec<(usize, &'a Said)>,
    piece: crate::page::Piece<'a>,
}

/// The page shows a lab that is over.
#[derive(Serialize)]
struct Over {
    lab: u64,
    over: bool,
}

impl Feed {
    /// For a page that shows this lab, and nothing of it yet.
    pub fn new(number: u64) -> Feed {
        Feed { number, reader: Reader::default(), told: Vec::new() }
    }

    /// What is new, as JSON; whether the page goes on.
    pub fn next(&mut self, board: &Board) -> (String, bool) {
        if board.number != self.number {
            let over = Over { lab: board.number, over: true };
            return (serde_json::to_string(&over).expect("plain data"), false);
        }
        self.told.resize(board.said.len().max(self.told.len()), false);
        let mut said = Vec::new();
        for (number, line) in board.said.iter().enumerate() {
            let settled = line.reply.is_some() || !line.asks;
            let told = &mut self.told[number];
            if !*told {
                said.push((number, line));
            }
            *told = settled;
        }
        board.tape.with(|tape| {
            let piece = self.reader.read(tape);
            let news = News {
                lab: board.number,
                pace: board.pace,
                standing: &board.standing,
                said,
                piece,
            };
            (serde_json::to_string(&news).expect("plain data"), true)
        })
    }
}
