//! Where a server or a node of a service is. It is written the same way in the registry, in
//! variables and on the command line: `host:port`, or `unix:/path` for a Unix socket.

use std::{fmt, path::PathBuf, str::FromStr};

use http::uri::Authority;
use tokio::{io::DuplexStream, sync::mpsc};

use crate::Error;

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";
/// The longest path of a Unix socket, in bytes: what the system has room for, less the NUL.
pub(crate) const LONGEST_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The key, in the metadata of a node of the registry, of the reason why no calls are sent to it.
pub const NODE_REFUSED: &str = "refused";

/// Where a [`Channel`](crate::Channel) leads.
#[derive(Clone, Debug)]
pub enum Address {
    /// `host:port`, plain HTTP/2.
    Tcp(String),
    /// The path of a Unix socket. Each connection is made by [`local::connect`](crate::local::connect).
    Unix(PathBuf),
    /// The local socket of the server of this home, looked up and proven for each connection.
    Home,
    /// A server in this process that accepts the other ends of pipes.
    Pipe(mpsc::UnboundedSender<DuplexStream>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Home => f.write_str("the micro server of this home"),
            Self::Pipe(_) => f.write_str("this process"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `host:port` or `unix:/path`.
    ///
    /// # Errors
    /// 400 for anything else; the text says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: String| Err(Error::bad_request(format!("the address `{text}` {why}")));
        let Some(path) = text.strip_prefix(UNIX) else {
            let authority = text.parse::<Authority>().ok();
            let authority = authority.filter(|authority| !authority.host().is_empty() && !text.contains('@'));
            return match authority.and_then(|authority| authority.port_u16()) {
                Some(1..) => Ok(Self::Tcp(text.to_owned())),
                Some(0) => wrong("has port 0, at which nothing listens".to_owned()),
                None => wrong("is neither host:port nor unix:/path".to_owned()),
            };
        };
        if !path.starts_with('/') || path.contains('\0') {
            return wrong("is not that of a Unix socket: its path has to begin with `/`".to_owned());
        }
        if path.len() > LONGEST_PATH {
            return wrong(format!(
                "is not that of a Unix socket: its path has {} bytes, {LONGEST_PATH} are possible",
                path.len()
            ));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["127.0.0.1:8080", "[::1]:1", "localhost:65535", "unix:/run/a.sock", "unix:/a:b/c d"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        for (text, reason) in [
            ("", "neither"),
            ("localhost", "neither"),
            ("a:b", "neither"),
            (":80", "neither"),
            ("1.2.3.4:65536", "neither"),
            ("user@host:80", "neither"),
            ("host:80/path", "neither"),
            ("http://host:80", "neither"),
            ("[::1:80", "neither"),
            ("127.0.0.1:0", "port 0"),
            ("unix:", "begin with `/`"),
            ("unix:relative", "begin with `/`"),
            ("unix:/a\0b", "begin with `/`"),
            (&long, "107 are possible"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.code, 400, "{text:?}");
            assert!(error.detail.contains(reason) || cfg!(not(target_os = "linux")), "{text:?}: {error}");
        }
        assert!(format!("unix:/{}", "a".repeat(LONGEST_PATH - 1)).parse::<Address>().is_ok());
    }
}
