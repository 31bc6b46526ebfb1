//! Log lines as Redis writes them, to standard output or to `logfile`.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoLocal, FormatTime as _};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::base::fact::LogLevel;

/// Changes the level while the server runs.
pub struct LevelSwitch {
    handle: reload::Handle<LevelFilter, Registry>,
}

impl LevelSwitch {
    pub fn set(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then there is nothing to switch.
        let _ = self.handle.modify(|filter| *filter = filter_of(level));
    }
}

/// Sends log lines of at least `level` to `file`, or to standard output if that is empty.
///
/// # Errors
/// If the file cannot be opened for appending.
pub fn start(level: LogLevel, file: &str) -> io::Result<LevelSwitch> {
    let writer = if file.is_empty() {
        BoxMakeWriter::new(io::stdout)
    } else {
        BoxMakeWriter::new(Mutex::new(OpenOptions::new().create(true).append(true).open(file)?))
    };
    let (filter, handle) = reload::Layer::new(filter_of(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer)
        .event_format(RedisLine::new());
    // A second start in one process (tests) keeps the first one's subscriber.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LevelSwitch { handle })
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    }
}

/// `PID:M 27 May 2024 10:11:12.345 * text`
struct RedisLine {
    pid: u32,
    time: ChronoLocal,
}

impl RedisLine {
    fn new() -> RedisLine {
        let time = ChronoLocal::new("%d %b %Y %H:%M:%S%.3f".to_owned());
        RedisLine { pid: std::process::id(), time }
    }
}

impl<S, N> FormatEvent<S, N> for RedisLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mark = match *event.metadata().level() {
            Level::TRACE => '.',
            Level::DEBUG => '-',
            Level::INFO => '*',
            Level::WARN | Level::ERROR => '#',
        };
        write!(writer, "{}:M ", self.pid)?;
        self.time.format_time(&mut writer)?;
        write!(writer, " {mark} ")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
