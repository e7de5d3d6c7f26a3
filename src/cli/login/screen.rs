//! What a person sees while a device waits: the address, the code, a QR code, and the time that is left.
//!
//! On a terminal the time counts down in one line, which is gone when the waiting ends, however it ends. Elsewhere there is
//! a plain line for everything that changes, and no QR code.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::cli::client::{DeviceAuthorization, Waiting};

/// Black on white, whatever the terminal is set to: cameras know no other QR code.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";

/// Back to what the terminal is set to.
const RESET: &str = "\x1b[0m";

/// How often the line on a terminal shows that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(120);

/// Where it is shown.
pub(super) struct Screen {
    line: Option<ProgressBar>,
    minutes: u64,
}

impl Screen {
    /// Shows address and code on standard error.
    pub(super) fn show(device: &DeviceAuthorization, colours: bool) -> Self {
        let complete = device.verification_uri_complete.as_ref();
        if let Some(columns) = columns()
            && let Some(code) = qr_code(complete.unwrap_or(&device.verification_uri).as_str(), columns, colours)
        {
            eprintln!("\n{code}");
        }
        eprintln!("\n  open     {}", device.verification_uri);
        eprintln!("  code     {}", device.user_code);
        if let Some(complete) = complete {
            eprintln!("  or open  {complete}");
        }
        eprintln!("\nthe page must show the same code; approve there, and nowhere else");
        let screen = Self { line: columns().map(|_| progress()), minutes: minutes(device.life) };
        if screen.line.is_none() {
            eprintln!("waiting for approval; the code is good for {}", clock(device.life));
        }
        screen
    }

    /// Shows what happens.
    pub(super) fn tell(&mut self, waiting: &Waiting<'_>) {
        match waiting {
            Waiting::Left(left) => self.left(*left),
            Waiting::SlowedDown(interval) => {
                self.say(&format!("the server asks for patience: asking every {} s", interval.as_secs()));
            }
            Waiting::Trouble(error, pause) => {
                self.say(&format!("{error}; asking again in {} s", pause.as_secs().max(1)));
            }
        }
    }

    fn left(&mut self, left: Duration) {
        match &self.line {
            Some(line) => line.set_message(clock(left)),
            None if minutes(left) < self.minutes => {
                self.minutes = minutes(left);
                eprintln!("still waiting; {} left", clock(left));
            }
            None => {}
        }
    }

    fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.println(format!("* {text}")),
            None => eprintln!("* {text}"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} waiting for approval, {msg} left").expect("a template");
    let line = ProgressBar::new_spinner().with_style(style);
    line.enable_steady_tick(HEARTBEAT);
    line
}

/// Minutes, the last one begun counted whole.
fn minutes(time: Duration) -> u64 {
    time.as_secs().div_ceil(60)
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// How wide the terminal is; `None` if it is none.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stderr()).ok().filter(|_| stderr().is_terminal())?;
    Some(if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}

/// A QR code of half blocks, with its quiet zone; `None` if it is wider than the terminal.
fn qr_code(text: &str, columns: usize, colours: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let mut image = code.render::<Dense1x2>();
    if !colours {
        // Without colours most terminals write light on dark.
        image.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    }
    let image = image.quiet_zone(true).build();
    if image.lines().any(|line| line.chars().count() > columns) {
        return None;
    }
    let (before, after) = if colours { (BLACK_ON_WHITE, RESET) } else { ("", "") };
    let mut painted = String::new();
    for line in image.lines() {
        writeln!(painted, "{before}{line}{after}").expect("a string takes all");
    }
    Some(painted.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qr_codes_fit_the_terminal_and_need_no_colours() {
        let address = "https://auth.example.com/activate?user_code=WDJB-MJHT";
        let painted = qr_code(address, 80, true).expect("a code");
        assert!(painted.lines().all(|line| line.starts_with(BLACK_ON_WHITE) && line.ends_with(RESET)));
        assert!(painted.lines().count() <= 22, "it fits a terminal of 24 lines");
        let plain = qr_code(address, 80, false).expect("a code");
        assert!(!plain.contains('\x1b'));
        assert_eq!(plain.chars().next(), Some('█'), "the quiet zone is light");
        assert_eq!(qr_code(address, 20, true), None);
        assert_eq!(clock(Duration::from_secs(599)), "9:59");
    }
}
