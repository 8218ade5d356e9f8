use std::net::Ipv4Addr;
use std::sync::Weak;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::clients::PERIOD;
use super::unsent::MAX_UNSENT;
use super::*;

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn client(number: u32) -> Client {
    Client {
        address: address(number),
        is_user: false,
    }
}

/// Opens a connection that closes when it is evicted, as the listener's do.
async fn open(connections: &Arc<Connections>, number: u32) -> Option<Weak<Connection>> {
    let connection = connections.open(address(number)).await?;
    Some(close_when_evicted(connection).await)
}

async fn close_when_evicted(connection: Connection) -> Weak<Connection> {
    let connection = Arc::new(connection);
    let weak = Arc::downgrade(&connection);
    tokio::spawn(async move { connection.evicted().await });
    // It waits for its eviction from now on.
    yield_now().await;
    weak
}

fn is_open(connection: &Weak<Connection>) -> bool {
    connection.strong_count() > 0
}

#[tokio::test(start_paused = true)]
async fn a_client_has_time_to_send_its_request_while_others_connect_all_the_time() {
    const CLIENTS: u32 = 70;
    let connections = Arc::new(Connections::new(50));
    let connect_all = async || {
        for number in 1..=CLIENTS {
            open(&connections, number).await.expect("no newcomer is refused");
        }
        sleep(Duration::from_millis(25)).await;
    };
    connect_all().await;
    connect_all().await;
    let scraper = open(&connections, 0).await.unwrap();
    // For a second.
    for _ in 0..40 {
        connect_all().await;
        assert!(is_open(&scraper));
    }
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_client_are_counted_for_a_while() {
    let mut clients = Clients::new();
    clients.arrive(client(1));
    clients.load(client(1)).open += 1;
    sleep(PERIOD / 2).await;
    clients.arrive(client(1));
    let most = |clients: &mut Clients| [1, 2, 3].map(|number| clients.most(client(number)));
    sleep(PERIOD / 2).await;
    clients.arrive(client(2));
    assert_eq!(most(&mut clients), [2, 1, 0]);
    sleep(PERIOD).await;
    clients.arrive(client(3));
    assert_eq!(most(&mut clients), [1, 1, 1], "the first one has one open");
    sleep(PERIOD * 3).await;
    clients.arrive(client(2));
    assert_eq!(most(&mut clients), [1, 1, 0]);
    clients.load(client(1)).open -= 1;
    assert_eq!(most(&mut clients), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_user_keeps_its_connections_while_others_connect_from_its_address_and_from_many() {
    let connections = Arc::new(Connections::new(8));
    let mut kept = Vec::new();
    for _ in 0..4 {
        let connection = connections.open(address(1)).await.unwrap();
        connection.begin_service(true);
        assert!(connection.answer(1));
        connection.flush();
        kept.push(close_when_evicted(connection).await);
    }
    for round in 0..20 {
        sleep(Duration::from_secs(1)).await;
        for number in [1, 1, 1, 2, 3, 4].into_iter().chain(round * 20..round * 20 + 20) {
            open(&connections, number).await.expect("no newcomer is refused");
        }
        assert!(kept.iter().all(is_open), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_has_time_to_send_its_password_while_others_connect_from_its_address() {
    const CLIENTS: u32 = 70;
    let connections = Arc::new(Connections::new(50));
    let user = connections.open(address(0)).await.unwrap();
    user.begin_service(true);
    drop(user);
    for round in 0..10 {
        for number in (0..3 * CLIENTS).map(|number| number % CLIENTS).chain([0; 10]) {
            open(&connections, number).await.expect("no newcomer is refused");
        }
        let scraper = open(&connections, 0).await.unwrap();
        for number in 1..CLIENTS {
            open(&connections, number).await.expect("no newcomer is refused");
        }
        assert!(is_open(&scraper), "round {round}");
        sleep(PERIOD).await;
    }
}

/// A connection in whose service a response has been made, and whether there was room for it.
async fn respond(connections: &Arc<Connections>, number: u32, bytes: u64) -> (Weak<Connection>, bool) {
    let connection = connections.open(address(number)).await.expect("a connection");
    connection.begin_service(false);
    let has_room = connection.answer(bytes);
    (close_when_evicted(connection).await, has_room)
}

fn unsent(connections: &Connections) -> u64 {
    let open = connections.open.lock();
    open.connections.iter().map(|progress| progress.lock().unsent).sum()
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_not_taken_are_limited_and_shut_no_other_client_out() {
    const BYTES: u64 = MAX_UNSENT / 40;
    let connections = Arc::new(Connections::new(512));
    let mut first = None;
    for number in 0..500 {
        let (connection, has_room) = respond(&connections, 1, BYTES).await;
        assert_eq!(has_room, number < 40, "{number}");
        first.get_or_insert(connection);
        sleep(Duration::from_millis(1)).await;
    }
    let first = first.unwrap();
    assert!(is_open(&first) && unsent(&connections) <= MAX_UNSENT);

    let (other, has_room) = respond(&connections, 2, BYTES * 2).await;
    assert!(has_room && is_open(&other));
    yield_now().await;
    assert!(!is_open(&first), "the oldest of the client with the most has made way");
    assert!(unsent(&connections) <= MAX_UNSENT);
    // Once a client has taken its response, its bytes are free.
    other.upgrade().unwrap().flush();
    assert_eq!(unsent(&connections), 38 * BYTES);
    assert!(respond(&connections, 1, BYTES * 2).await.1);
    assert!(!respond(&connections, 1, BYTES).await.1);
}

#[tokio::test(start_paused = true)]
async fn responses_of_many_clients_are_limited_even_before_the_oldest_are_gone() {
    const BYTES: u64 = MAX_UNSENT / 40;
    let connections = Arc::new(Connections::new(512));
    let mut open = Vec::new();
    let mut refused = 0;
    for number in 0..500 {
        let connection = connections.open(address(number)).await.expect("a connection");
        connection.begin_service(false);
        refused += u32::from(!connection.answer(BYTES));
        // Nothing closes.
        open.push(connection);
    }
    assert!(unsent(&connections) <= 2 * MAX_UNSENT);
    assert_eq!(refused, 500 - 80);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_response_slowly_is_not_the_one_that_loses_it() {
    const BYTES: u64 = MAX_UNSENT / 40;
    let connections = Arc::new(Connections::new(512));
    let (slow, _) = respond(&connections, 0, BYTES + 1000).await;
    // Each asks once, and takes nothing.
    for number in 1..200 {
        sleep(Duration::from_millis(100)).await;
        slow.upgrade().unwrap().send();
        let (_, has_room) = respond(&connections, number, BYTES).await;
        assert!(has_room && is_open(&slow), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_above_the_limit_is_sent_alone() {
    let connections = Arc::new(Connections::new(512));
    let (large, has_room) = respond(&connections, 1, MAX_UNSENT * 3).await;
    assert!(has_room);
    assert!(!respond(&connections, 1, 1).await.1);
    large.upgrade().unwrap().flush();
    assert!(respond(&connections, 1, 1).await.1);
}
