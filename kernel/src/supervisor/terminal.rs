//! Pseudo terminals.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::runtime::{containerizer::WindowSize, credentials::Credentials};

/// A new terminal: the end of the supervisor, and that of the container, which belongs to its user.
pub(super) fn open(size: WindowSize, user: Option<&Credentials>) -> io::Result<(File, OwnedFd)> {
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&own)?;
    unlockpt(&own)?;
    let name = ptsname(&own, Vec::new())?;
    let name = name.to_str().map_err(|_| io::ErrorKind::InvalidData)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(Path::new(name), flags, Mode::empty())?;
    if let Some(user) = user {
        user.own(&theirs)?;
    }
    let own = File::from(own);
    // A terminal without a size is legal.
    if size.rows > 0 || size.columns > 0 {
        resize(&own, size)?;
    }
    Ok((own, theirs))
}

/// Changes the size of a terminal, and tells its processes.
pub(super) fn resize(terminal: &File, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
