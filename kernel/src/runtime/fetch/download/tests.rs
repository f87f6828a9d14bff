//! Downloads from an FTP server on loopback, plain and over TLS.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use transport::tls::{ClientCertificate, client_config, server_config};

use super::*;

/// A control or data connection of the server.
enum Connection {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Connection {
    fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) -> Self {
        let stream = listener.accept().unwrap().0;
        match tls {
            None => Connection::Plain(stream),
            Some(tls) => {
                let session = ServerConnection::new(tls.clone()).unwrap();
                Connection::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        }
    }

    fn close(mut self) {
        if let Connection::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Plain(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Plain(stream) => stream.flush(),
            Connection::Tls(stream) => stream.flush(),
        }
    }
}

/// Serves one client and one file. Returns its port, and at the end the commands that it received.
fn ftp_server(tls: Option<Arc<ServerConfig>>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut control = BufReader::new(Connection::accept(&listener, tls.as_ref()));
        let data = TcpListener::bind("127.0.0.1:0").unwrap();
        let data_port = data.local_addr().unwrap().port();
        let mut commands = Vec::new();
        let mut reply = "220 ready".to_owned();
        loop {
            control.get_mut().write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            let mut line = String::new();
            if control.read_line(&mut line).unwrap_or(0) == 0 {
                return commands;
            }
            let command = line.trim().to_owned();
            reply = match command.split(' ').next().unwrap() {
                "USER" => "331 password".to_owned(),
                "PASS" => "230 welcome".to_owned(),
                // An address that does not exist: the client uses the server's own.
                "PASV" => {
                    format!("227 Entering Passive Mode (192,0,2,1,{},{})", data_port / 256, data_port % 256)
                }
                "RETR" => {
                    control.get_mut().write_all(b"150 data follows\r\n").unwrap();
                    let mut connection = Connection::accept(&data, tls.as_ref());
                    connection.write_all(b"text").unwrap();
                    connection.close();
                    "226 done".to_owned()
                }
                _ => "200 ok".to_owned(),
            };
            commands.push(command);
        }
    });
    (port, serving)
}

#[test]
fn ftp_downloads_in_binary_mode() {
    let (port, serving) = ftp_server(None);
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("file");
    let mut file = File::create(&to).unwrap();
    download(&format!("ftp://127.0.0.1:{port}/dir/file"), &mut file, &CancellationToken::new()).unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "text");
    let expected = ["USER anonymous", "PASS anonymous@", "TYPE I", "PASV", "RETR dir/file"];
    assert_eq!(serving.join().unwrap(), expected);
}

#[test]
fn ftps_encrypts_both_connections() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
    let server = server_config(&certificate, &key, &certificate, ClientCertificate::Optional, &[]).unwrap();
    let (port, serving) = ftp_server(Some(server));
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("file");
    let mut file = File::create(&to).unwrap();
    let uri = format!("ftps://me:secret@127.0.0.1:{port}/file").parse().unwrap();
    over_ftps(&uri, &mut file, client_config(&certificate, None, &[]).unwrap(), &CancellationToken::new())
        .unwrap();
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "text");
    let expected = ["USER me", "PASS secret", "PBSZ 0", "PROT P", "TYPE I", "PASV", "RETR file"];
    assert_eq!(serving.join().unwrap(), expected);
}
