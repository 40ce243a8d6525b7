//! The least that a resolver may be: every name has the same IPv4 address. Over UDP each answer is
//! cut short, so that whoever asks has to come again over TCP.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::super::proxy::Task;

const PORT: u16 = 53;
/// RFC 1035, §4.1.1.
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// Answers at this address, by this address.
pub async fn serve(address: Ipv4Addr) -> Task {
    let udp = UdpSocket::bind((address, PORT)).await.unwrap();
    let tcp = TcpListener::bind((address, PORT)).await.unwrap();
    Task::spawn(async move {
        let mut query = [0; 512];
        loop {
            tokio::select! {
                Ok((length, from)) = udp.recv_from(&mut query) => {
                    let _ = udp.send_to(&answer(&query[..length], None), from).await;
                }
                Ok((stream, _)) = tcp.accept() => {
                    // One at a time: a resolver asks at once, or hangs up.
                    let _ = over_tcp(stream, address).await;
                }
            }
        }
    })
}

/// Each message has its length before it.
async fn over_tcp(mut stream: TcpStream, address: Ipv4Addr) -> std::io::Result<()> {
    loop {
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        let answer = answer(&query, Some(address));
        stream.write_u16(answer.len().try_into().unwrap()).await?;
        stream.write_all(&answer).await?;
    }
}

/// Without an address it is cut short; of another type than A the name has nothing.
fn answer(query: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let name = query[HEADER..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[HEADER..HEADER + name + 4];
    let truncated = u8::from(address.is_none()) << 1;
    let found = address.filter(|_| question[name..name + 2] == TYPE_A);
    // A response, recursion desired and available; one question.
    let flags = [0x81 | truncated, 0x80];
    let mut answer = [&query[..2], &flags, &[0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0], question].concat();
    if let Some(address) = found {
        // The name is the question's; class IN, good for 0 s, so that it is asked for each time.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
