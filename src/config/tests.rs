use super::raw::unreadable_line;
use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::parse(&Raw::from_pairs(pairs.iter().copied()))
}

#[test]
fn with_no_settings_it_is_the_embedded_store_on_loopback_with_demo_tokens() {
    let config = parse(&[]).expect("defaults are right");
    assert_eq!((config.host.to_string().as_str(), config.port), ("127.0.0.1", 3000));
    assert_eq!(config.store, StoreConfig::Embedded("./data".into()));
    assert!(config.offer_demo && config.admin_keys.is_empty());
    assert_eq!(config.delete_window, Duration::from_secs(86_400));
    for settings in [("HOST", "0.0.0.0"), ("TRUSTED_PROXIES", "127.0.0.1"), ("DEMO", "off")] {
        assert!(!parse(&[settings]).expect("legal").offer_demo, "{settings:?}");
    }
    assert!(parse(&[("HOST", "0.0.0.0"), ("DEMO", "on")]).expect("legal").offer_demo);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let wrong = [
        ("PORT", "http"),
        ("MONGODB_URI", "mongodb://db/"),
        ("ADMIN_SECRET_KEY", "short"),
        ("DELETE_WINDOW", "soon"),
        ("CORS_ORIGINS", "app.example.com"),
    ];
    let mistakes = parse(&wrong).err().expect("five mistakes").0;
    let named = |name| mistakes.iter().filter(|m: &&String| m.starts_with(name)).count();
    assert_eq!(mistakes.len(), 5, "{mistakes:?}");
    for name in ["PORT", "JWT_SECRET", "ADMIN_SECRET_KEY must have at least 16", "DELETE_WINDOW", "CORS_ORIGINS"] {
        assert_eq!(named(name), 1, "{name} in {mistakes:?}");
    }
}

#[test]
fn traces_go_to_an_endpoint_and_credentials_only_where_nobody_reads_along() {
    assert!(parse(&[("OTEL_SERVICE_NAME", "chat")]).expect("legal").traces.is_none(), "nowhere to send them");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    let traces = parse(&[endpoint, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]).expect("legal").traces.expect("a place");
    assert_eq!((traces.url.as_str(), traces.service_name.as_str()), ("http://collector:4318/v1/traces", "samvad"));
    assert!((traces.ratio - 0.25).abs() < f64::EPSILON && traces.headers.is_empty());
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YWI+Yw==, x-team=a&b");
    let traces = parse(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://t.example/otlp"), headers]).expect("legal").traces.expect("a place");
    let sent: Vec<(&str, &[u8])> = traces.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(sent, [("authorization", &b"Basic YWI+Yw=="[..]), ("x-team", b"a&b")]);
    for wrong in [
        vec![endpoint, headers],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:planted@t.example")],
        vec![endpoint, ("OTEL_TRACES_SAMPLER_ARG", "1.5")],
        vec![("OTEL_EXPORTER_OTLP_HEADERS", "planted in the wrong place")],
    ] {
        let mistakes = parse(&wrong).err().unwrap_or_else(|| panic!("{wrong:?} is no setting")).to_string();
        assert!(mistakes.contains(wrong[wrong.len() - 1].0) || mistakes.contains(wrong[0].0), "{mistakes}");
        assert!(!mistakes.contains("planted"), "{mistakes}");
    }
}

#[test]
fn the_database_comes_from_its_own_setting_or_the_uri() {
    let database = |pairs: &[(&str, &str)]| {
        let mut all = vec![("JWT_SECRET", "0123456789abcdef")];
        all.extend_from_slice(pairs);
        match parse(&all).expect("legal").store {
            StoreConfig::Mongo { database, .. } => database,
            StoreConfig::Embedded(_) => "embedded".into(),
        }
    };
    assert_eq!(database(&[("MONGODB_URI", "mongodb://u:p@h:1/app?x=/y")]), "app");
    assert_eq!(database(&[("MONGODB_URI", "mongodb://h")]), "samvad");
    assert_eq!(database(&[("MONGODB_URI", "mongodb://h/app"), ("MONGODB_DB", "chat")]), "chat");
}

#[test]
fn limits_have_defaults_and_the_rate_profile_moves_the_rates() {
    let handshakes = |pairs: &[(&str, &str)]| parse(pairs).expect("legal").handshakes_per_minute.map_or(0, NonZeroU32::get);
    let config = parse(&[]).expect("defaults are right");
    assert_eq!((config.max_connections, config.max_connections_per_address, config.max_sockets_per_identity), (20_000, 2_000, 50));
    assert!(config.engine_io_3 && config.trusted_proxies.is_empty() && config.rate_profile == RateProfile::Default);
    assert_eq!(handshakes(&[]), 1200);
    assert_eq!(handshakes(&[("RATE_PROFILE", "strict")]), 600);
    assert_eq!(handshakes(&[("RATE_PROFILE", "strict"), ("HANDSHAKES_PER_MINUTE", "1200")]), 1200, "a number of one's own counts as it is");
    assert_eq!(handshakes(&[("RATE_PROFILE", "off"), ("HANDSHAKES_PER_MINUTE", "5")]), 0);
    assert_eq!(handshakes(&[("HANDSHAKES_PER_MINUTE", "0")]), 0);
    let wrong = [
        ("MAX_CONNECTIONS", "0"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "-1"),
        ("MAX_SOCKETS_PER_IDENTITY", "many"),
        ("HANDSHAKES_PER_MINUTE", "1000001"),
        ("RATE_PROFILE", "none"),
        ("ENGINE_IO_3", "maybe"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, proxy.example"),
    ];
    let mistakes = parse(&wrong).err().expect("all of them").0;
    assert_eq!(mistakes.len(), wrong.len(), "{mistakes:?}");
    for (name, _) in wrong {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(&format!("{name} "))), "{name} in {mistakes:?}");
    }
}

#[test]
fn media_hosts_are_names_in_lower_case_and_nothing_else() {
    let hosts = |text| parse(&[("MEDIA_HOSTS", text)]).map(|config| config.media_hosts);
    assert_eq!(hosts("CDN.example.com, *.Images.example,,").expect("legal"), ["cdn.example.com", "*.images.example"]);
    assert!(hosts("").expect("any").is_empty());
    for wrong in ["https://cdn.example.com", "cdn.example.com/", "cdn.example.com:443", "*", "*.com", "a.*.example", "a..b", "localhost"] {
        let mistakes = hosts(wrong).expect_err(wrong).0;
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("MEDIA_HOSTS "), "{wrong}: {mistakes:?}");
    }
}

#[test]
fn trusted_proxies_are_addresses_and_networks_in_any_spelling() {
    let proxies =
        parse(&[("TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,, ::1, ::ffff:192.168.0.0/112, fd00::/8")]).expect("legal").trusted_proxies;
    let written: Vec<_> = proxies.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["127.0.0.1/32", "10.0.0.0/8", "::1/128", "192.168.0.0/16", "fd00::/8"]);
}

#[test]
fn secrets_are_masked_and_the_example_file_names_every_setting() {
    let raw = Raw::from_pairs([("JWT_SECRET", "0123456789abcdef"), ("PORT", "4000")]);
    let text = raw.describe();
    assert!(!text.contains("0123456789abcdef") && text.contains("********"));
    assert!(text.contains("4000"));
    assert_eq!(std::fs::read_to_string(".env.example").expect("in the repository"), env_example(), "run: samvad config --example");
}

#[test]
fn one_source_of_keys_is_chosen_and_two_are_a_mistake() {
    let secret = ("JWT_SECRET", "0123456789abcdef");
    let file = ("JWT_PUBLIC_KEY", "keys/issuer.pem");
    let url = ("JWKS_URL", "https://issuer.example/jwks");
    let keys = |pairs: &[(&str, &str)]| parse(pairs).expect("legal").token_keys;
    assert!(keys(&[]) == TokenKeys::KeptSecret("./data/jwt-secret".into()));
    assert!(keys(&[secret]) == TokenKeys::Secret("0123456789abcdef".into()));
    assert!(keys(&[file, ("MONGODB_URI", "mongodb://db/")]) == TokenKeys::PublicKey("keys/issuer.pem".into()));
    assert!(matches!(keys(&[url, ("MONGODB_URI", "mongodb://db/")]), TokenKeys::Published(u) if u == "https://issuer.example/jwks"));
    for pairs in [&[secret, file][..], &[secret, url], &[file, url], &[secret, file, url]] {
        let mistakes = parse(pairs).err().expect("a mistake").0;
        assert!(mistakes.len() == 1 && mistakes[0].contains("must not be set together"), "{mistakes:?}");
    }
    assert!(parse(&[("JWT_SECRET", "-----BEGIN PUBLIC KEY-----\nMCow")]).is_err());
}

#[test]
fn published_keys_are_fetched_encrypted_or_from_this_machine() {
    for url in ["https://issuer.example/.well-known/jwks.json?v=1", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost:80/x"] {
        assert!(parse(&[("JWKS_URL", url)]).is_ok(), "{url}");
    }
    let wrong =
        ["http://issuer.example/", "http://127.0.0.1.example/", "ftp://127.0.0.1/", "issuer.example/x", "https://", "http://10.0.0.1/"];
    for url in wrong.into_iter().chain(["https://me:hunter2hunter2@issuer.example/", "http://127.0.0.1@issuer.example/"]) {
        let mistakes = parse(&[("JWKS_URL", url)]).err().unwrap_or_else(|| panic!("{url} was taken")).0;
        assert!(mistakes[0].starts_with("JWKS_URL must be") && !mistakes[0].contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn admin_keys_have_names_and_what_is_wrong_never_shows_a_key() {
    let config = parse(&[("ADMIN_SECRET_KEY", "any:thing, even this"), ("ADMIN_KEYS", "asha:0123456789abcdef, ravi_2:fedcba9876543210")]);
    let keys = config.expect("legal").admin_keys;
    let names: Vec<_> = keys.iter().map(|key| (key.name.as_deref(), key.key.as_str())).collect();
    assert_eq!(names, [(None, "any:thing, even this"), (Some("asha"), "0123456789abcdef"), (Some("ravi_2"), "fedcba9876543210")]);

    for (wrong, entry) in [
        ("0123456789abcdef", 1),
        ("asha:0123456789abcde", 1),
        ("asha:0123456789:abcdef", 1),
        ("asha:0123456789abcdef,ghijklmnopqrstuv", 2),
        ("asha:0123456789abcdef,", 2),
        (":0123456789abcdef", 1),
        ("as ha:0123456789abcdef", 1),
        ("a23456789012345678901234567890123:0123456789abcdef", 1),
        ("0123456789abcdef ghij:asha", 1),
        ("asha:0123456789abcdef,asha:0123456789abcdefgh", 2),
        ("asha:0123456789abcdef,ravi:0123456789abcdef", 2),
        ("asha:the secret one of old", 1),
    ] {
        let mistakes = parse(&[("ADMIN_SECRET_KEY", "the secret one of old"), ("ADMIN_KEYS", wrong)]).err().expect(wrong).0;
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with("ADMIN_KEYS") && mistakes[0].contains(&format!("entry {entry}")),
            "{mistakes:?}"
        );
        assert!(!mistakes[0].contains("0123") && !mistakes[0].contains("ghij"), "{mistakes:?}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_not_shown() {
    let line = "ADMIN_KEYS=asha:0123456789abcdef, ravi:fedcba9876543210";
    let error = dotenvy::from_read_iter(line.as_bytes()).find_map(Result::err).expect("spaces need quotes");
    assert_eq!(unreadable_line(&error, "PORT"), ".env: the setting after PORT cannot be read; put its value into single quotes");
}

#[test]
fn what_is_described_holds_no_key_of_any_kind() {
    let text = Raw::from_pairs([
        ("JWT_SECRET", "hunter2-jwt-secret"),
        ("ADMIN_SECRET_KEY", "hunter2-admin-key"),
        ("ADMIN_KEYS", "asha:hunter2-of-asha-x"),
        ("JWT_PUBLIC_KEY", "-----BEGIN PRIVATE KEY----- hunter2"),
        ("JWKS_URL", "https://me:hunter2@issuer.example/"),
        ("JWT_ISSUER", "https://issuer.example/"),
    ])
    .describe();
    assert!(!text.contains("hunter2") && text.contains("https://issuer.example/"), "{text}");
}
