use super::*;

fn seeds(text: &str) -> Seeds {
    Seeds::parse(text, 4370).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str) -> SeedErrors {
    Seeds::parse(text, 4370).expect_err(text)
}

#[test]
fn each_form_means_what_the_table_says() {
    for (text, shown, kind) in [
        ("", "", SeedKind::None),
        ("  ", "", SeedKind::None),
        ("app", "dns:app:4370", SeedKind::Service),
        ("app:5000", "dns:app:5000", SeedKind::Service),
        ("app.ns.svc.cluster.local", "dns:app.ns.svc.cluster.local:4370", SeedKind::Service),
        ("dns", "dns:dns:4370", SeedKind::Service),
        ("dns:5000", "dns:dns:5000", SeedKind::Service),
        ("10.0.0.1", "10.0.0.1:4370", SeedKind::List(1)),
        ("fd00::1", "[fd00::1]:4370", SeedKind::List(1)),
        ("fd::dad", "[fd::dad]:4370", SeedKind::List(1)),
        ("[fd00::1]:5000", "[fd00::1]:5000", SeedKind::List(1)),
        ("localhost:5000", "list:localhost:5000", SeedKind::List(1)),
        ("list:app", "list:app:4370", SeedKind::List(1)),
        (" a:1 ,b:2, 10.0.0.3 ", "a:1, b:2, 10.0.0.3:4370", SeedKind::List(3)),
        ("dns:app, 10.0.0.1", "dns:app:4370, 10.0.0.1:4370", SeedKind::Service),
        ("dns:app@10.0.0.53", "dns:app:4370@10.0.0.53:53", SeedKind::Service),
        ("dns:app:5000@[fd00::53]:8600", "dns:app:5000@[fd00::53]:8600", SeedKind::Service),
        ("srv:app", "srv:app", SeedKind::Service),
        ("srv:_x._tcp.app@127.0.0.1:5353", "srv:_x._tcp.app@127.0.0.1:5353", SeedKind::Service),
        ("system:app:5000", "system:app:5000", SeedKind::Service),
    ] {
        let seeds = seeds(text);
        assert_eq!((seeds.to_string().as_str(), seeds.kind()), (shown, kind), "{text}");
        assert_eq!(Seeds::parse(shown, 1).unwrap().to_string(), shown, "what is shown can be read again");
    }
}

#[test]
fn a_list_in_a_file_may_be_written_either_way() {
    let parse = |texts: &[&str]| Seeds::parse_list(texts, 4370).unwrap();
    assert_eq!(parse(&["a:1", "b:2"]), parse(&["a:1, b:2"]));
    assert_eq!(parse(&["app"]).kind(), SeedKind::Service);
    assert_eq!(parse(&[]), Seeds::default());
}

#[test]
fn each_mistake_is_named_with_its_place() {
    for (text, place, word) in [
        ("a,,b", "seed 2", "empty"),
        ("a,b,", "seed 3", "empty"),
        ("a,b:0", "seed 2", "`b:0` has no port"),
        ("a,b:99999", "seed 2", "between 1 and 65535"),
        ("a,0.0.0.0", "seed 2", "every address"),
        ("fe80::1%eth0", "seed 1", "link-local"),
        ("10.0.0.300", "seed 1", "not a host"),
        ("consul:app", "seed 1", "`consul:`, which is no way"),
        ("http://app:80", "seed 1", "`http:`, which is no way"),
        ("dns:10.0.0.1", "seed 1", "needs a name"),
        ("srv:app:4370", "seed 1", "carry their own"),
        ("dns:app@here", "seed 1", "not the address of a name server"),
        ("a:4370,b,A", "seed 3", "the same as seed 1"),
        ("app@10.0.0.1", "seed 1", "not a host"),
    ] {
        let message = refused(text).to_string();
        assert!(message.starts_with(place) && message.contains(word), "{text}: {message}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let places: Vec<usize> = refused("a:0,b,,b,http:x,10.0.0.1").0.iter().map(|error| error.place).collect();
    assert_eq!(places, [1, 3, 4, 5]);
    assert_eq!(
        refused("a:0,b,,b").to_string(),
        "seed 1: `a:0` has no port between 1 and 65535 after the colon: write `host:port`, or `[address]:port` for IPv6; \
         seed 3: `` is empty: remove the comma, or write a host or a service name; \
         seed 4: `b` is the same as seed 2: write it once, the length of the list is taken for the number of nodes"
    );
}

#[tokio::test]
async fn addresses_need_no_name_server() {
    let seeds = seeds("10.0.0.1,[fd00::1]:5000");
    let found = seeds.strategy(&Resolver::servers([])).lookup().await.unwrap();
    assert_eq!(found.sockets(), ["10.0.0.1:4370".parse().unwrap(), "[fd00::1]:5000".parse().unwrap()]);
}
