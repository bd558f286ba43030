//! Pages over TCP, and clients and servers that do not keep to the protocol.

mod pager_common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use emu::doctor::skip_without;
use emu::pager::lab::Process;
use emu::pager::lab::program::Program;
use emu::pager::lab::tasks::Task;
use emu::pager::source::PageSource;
use emu::pager::source::tcp::Tcp;
use emu::pager::{Fate, Mode};
use emu::template::pages::{PageTable, TABLE};
use pager_common::{MODES, NEEDS, PAGES, Place, SOON, batch, eventually, export, touch};

fn table(place: &Place) -> PageTable {
    PageTable::read(&place.template.join(TABLE)).unwrap()
}

#[test]
fn pages_come_over_tcp() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let export = export(&place);
    let source = format!("tcp:{}", export.address());
    let (_server, client) = place.serve(&[&source]);
    for mode in MODES {
        for k in [1, 64] {
            let (process, _) = Process::attached(&client, &place.template, PAGES, 4, batch(mode, k)).unwrap();
            assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 4));
        }
        let program = Program { seed: 3, steps: 300, threads: 2, maps: true, forks: false };
        let plain = Process::start(&emu::pager::lab::Arena::Plain(place.template.clone()), PAGES, 4).unwrap();
        let (process, _) = Process::attached(&client, &place.template, PAGES, 4, batch(mode, 16)).unwrap();
        let task = Task::Program(program);
        assert_eq!(process.run(&task).unwrap().hash, plain.run(&task).unwrap().hash);
    }
    // The connection is closed when nobody needs it.
    eventually("nobody is connected", || export.connections() == 0);
}

#[test]
fn when_the_exporter_goes_away_the_next_source_serves() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let export = export(&place);
    let source = format!("tcp:{}", export.address());
    let (_server, client) = place.serve(&[&source, "file"]);
    for mode in MODES {
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(mode, 1)).unwrap();
        process.run(&touch(0, 10)).unwrap();
    }
    let (process, _) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1)).unwrap();
    process.begin(&touch(0, PAGES)).unwrap();
    drop(export);
    let done = process.finish(SOON).unwrap().expect("it lives");
    assert_eq!(done.hash, place.expected(0..PAGES, 1));
}

#[test]
fn a_hostile_client_reads_nothing_but_the_pages() {
    let place = Place::new();
    let export = export(&place);
    let root = *table(&place).root().as_bytes();
    let hello = |magic: &[u8; 8], version: u32, root: &[u8; 32]| {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(root);
        bytes
    };
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(export.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let status = |stream: &mut TcpStream| {
        let mut welcome = [0; 24];
        stream.read_exact(&mut welcome).map(|()| u32::from_le_bytes(welcome[8..12].try_into().unwrap()))
    };
    // Another protocol is not answered; another version and template are refused.
    assert!(status(&mut connect(&hello(b"GET / HT", 1, &root))).is_err());
    assert_eq!(status(&mut connect(&hello(b"trenvxPS", 9, &root))).unwrap(), 2);
    assert_eq!(status(&mut connect(&hello(b"trenvxPS", 1, &[7; 32]))).unwrap(), 1);

    let mut stream = connect(&hello(b"trenvxPS", 1, &root));
    assert_eq!(status(&mut stream).unwrap(), 0);
    let mut ask = |first: u64, count: u32| {
        let mut bytes = 77_u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        stream.write_all(&bytes).unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[..8], 77_u64.to_le_bytes());
        let found = u32::from_le_bytes(head[8..12].try_into().unwrap());
        let mut pages = vec![[0; 4096]; if found == 0 { count as usize } else { 0 }];
        stream.read_exact(pages.as_flattened_mut()).unwrap();
        (found, pages)
    };
    for (first, count) in
        [(256, 1), (255, 2), (u64::MAX, 1), (u64::MAX - 1, 3), (0, 0), (0, 513), (1 << 52, 1), (0, u32::MAX)]
    {
        assert_eq!(ask(first, count), (3, vec![]), "{first}, {count}");
    }
    assert_eq!(ask(250, 6), (0, place.pages[250..].to_vec()));
    // Clients that never say anything, or break off, do not keep others out.
    let _silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(export.address()).unwrap()).collect();
    drop(connect(&hello(b"trenvxPS", 1, &root)[..20]));
    assert_eq!(ask(0, 1), (0, place.pages[..1].to_vec()));
}

/// Answers a greeting, then whatever the test wants to every request.
fn liar(answers: impl Fn(&mut TcpStream, &[u8; 24]) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut talk = || -> std::io::Result<()> {
                stream.read_exact(&mut [0; 48])?;
                let mut welcome = b"trenvxPS".to_vec();
                welcome.extend_from_slice(&[0; 8]);
                welcome.extend_from_slice(&(PAGES as u64).to_le_bytes());
                stream.write_all(&welcome)?;
                loop {
                    let mut request = [0; 24];
                    stream.read_exact(&mut request)?;
                    answers(&mut stream, &request)?;
                }
            };
            let _ = talk();
        }
    });
    address
}

fn head(request: &[u8; 24], status: u32) -> Vec<u8> {
    let mut head = request[..8].to_vec();
    head.extend_from_slice(&status.to_le_bytes());
    head.extend_from_slice(&request[16..20]);
    head
}

#[test]
fn a_lying_exporter_gets_no_page_into_a_process() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let wrong_pages = liar(|stream, request| {
        stream.write_all(&head(request, 0))?;
        let count = u32::from_le_bytes(request[16..20].try_into().unwrap()) as usize;
        stream.write_all(&vec![0x66; count * 4096])
    });
    let wrong_token = liar(|stream, _| stream.write_all(&[0xff; 16]));
    let too_many = liar(|stream, request| {
        let mut answer = head(request, 0);
        answer[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        stream.write_all(&answer)
    });
    let breaks_off = liar(|stream, request| {
        stream.write_all(&head(request, 0))?;
        stream.write_all(&[1; 100])?;
        Err(std::io::ErrorKind::Other.into())
    });
    let refuses = liar(|stream, request| stream.write_all(&head(request, 4)));
    for liar in [wrong_pages, wrong_token, too_many, breaks_off, refuses] {
        for mode in MODES {
            let source = format!("tcp:{liar}");
            let (_server, client) = place.serve(&[&source]);
            let (process, attachment) =
                Process::attached(&client, &place.template, PAGES, 1, batch(mode, 4)).unwrap();
            process.begin(&touch(0, PAGES)).unwrap();
            assert!(matches!(attachment.fate(SOON), Some(Fate::Ended(_))), "{source}");
            assert_eq!(client.report().unwrap().counts.copied_pages, 0);
        }
    }
    // And for who waits.
    let mut into = [[0; 4096]; 2];
    let source = Tcp::new(&refuses.to_string(), table(&place).root(), PAGES as u64);
    assert!(source.read(0, &mut into).unwrap_err().to_string().contains("answers 4"));
    assert!(source.read(255, &mut into).is_err());
    let far = Tcp::new("127.0.0.1:1", table(&place).root(), PAGES as u64);
    assert!(far.read(0, &mut into).unwrap_err().to_string().contains("cannot connect"));
}

#[test]
fn an_exporter_that_is_silent_is_given_up() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let silent = liar(|_, _| Ok(()));
    let mut config = place.config(&[&format!("tcp:{silent}"), "dram"]);
    config.patience = Duration::from_millis(40);
    let (_server, client) = place.serve_with(config);
    let (process, _) =
        Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 64)).unwrap();
    assert_eq!(process.run(&touch(0, 64)).unwrap().hash, place.expected(0..64, 1));
    assert!(client.report().unwrap().source(&format!("tcp {silent}")).late > 0);
}
