use super::*;

/// A run as it has to be.
fn good(scenario: Scenario) -> Outcome {
    let of_kind = |kind| {
        let found = OutcomeOfKind {
            cuts: 20,
            images: 18,
            differ: if kind == Kind::Strict { 0 } else { 18 },
            rescued: 0,
            unreadable: 0,
        };
        (kind, found)
    };
    let of_style = |style: Style| {
        let lost = match (scenario, style) {
            (Scenario::NoBarrier, _) => BTreeMap::from([(Kind::Strict, 9)]),
            (_, Style::Whole) => BTreeMap::from([(Kind::Torn, 9)]),
            (_, Style::Together) => BTreeMap::from([(Kind::Random, 9)]),
            (_, style) if style.is_control() => BTreeMap::from([(Kind::Strict, 9)]),
            _ => BTreeMap::new(),
        };
        OutcomeOfStyle {
            style,
            acked: 12,
            checked: 500,
            lost,
            first: None,
        }
    };
    let says = [
        "1 flush_range: EIO",
        "1 flush again: EIO",
        "1 retry_flush: Ok",
    ];
    let is_bad = scenario == Scenario::BadBlock;
    Outcome {
        machine: "armv7".to_owned(),
        kernel: "k".to_owned(),
        page: 4096,
        filesystem: "ext4".to_owned(),
        scenario,
        large: true,
        kinds: Kind::ALL.map(of_kind).into(),
        images: 54,
        full: scenario == Scenario::FullDisk,
        says: says
            .iter()
            .filter(|_| is_bad)
            .map(|&line| line.to_owned())
            .collect(),
        styles: scenario.styles(true).into_iter().map(of_style).collect(),
    }
}

fn expected() -> Expected {
    Expected::read().unwrap()
}

/// What is wrong with a run that has been changed.
fn wrong(scenario: Scenario, change: impl FnOnce(&mut Outcome)) -> String {
    let mut outcome = good(scenario);
    change(&mut outcome);
    outcome.wrong(&expected()).join("; ")
}

#[test]
fn what_is_as_it_must_be_passes() {
    for scenario in Scenario::ALL {
        assert_eq!(wrong(scenario, |_| {}), "", "{scenario:?}");
    }
}

#[test]
fn a_loss_and_a_control_without_one_fail() {
    let lose = |kind: Kind, which: usize| {
        move |run: &mut Outcome| {
            run.styles[which].lost.insert(kind, 1);
        }
    };
    for kind in Kind::ALL {
        let found = wrong(Scenario::Flushes, lose(kind, 3));
        assert_eq!(found, "in-page: lost 1 acknowledgements");
    }
    for (which, style) in Scenario::Controls.styles(true).into_iter().enumerate() {
        let found = wrong(Scenario::Controls, |run| run.styles[which].lost.clear());
        assert!(
            found.contains(&format!("{}: the control lost nothing by", style.name())),
            "{found}"
        );
    }
    for style in [Style::Whole, Style::Together] {
        let is = |found: &OutcomeOfStyle| found.style == style;
        let which = good(Scenario::Controls).styles.iter().position(is).unwrap();
        let found = wrong(Scenario::Controls, lose(Kind::Strict, which));
        assert!(
            found.contains("lost by strict cuts, which cannot be"),
            "{found}"
        );
    }
    let found = wrong(Scenario::NoBarrier, |run| {
        run.styles.iter_mut().for_each(|style| style.lost.clear());
        // An image that cannot be read is no loss that was seen.
        run.kinds.get_mut(&Kind::Torn).unwrap().unreadable = 9;
    });
    assert_eq!(found, "without device flushes nothing was lost");
}

#[test]
fn cuts_that_show_nothing_fail() {
    let kind = |kind: Kind, change: fn(&mut OutcomeOfKind)| {
        wrong(Scenario::Flushes, |run| {
            change(run.kinds.get_mut(&kind).unwrap())
        })
    };
    for which in Kind::ALL {
        assert!(kind(which, |found| found.unreadable = 1).contains("could not be read"));
        // One place over and over.
        assert!(kind(which, |found| found.images = 1).contains("left 1 different images"));
        let found = wrong(Scenario::Flushes, |run| {
            run.kinds.remove(&which);
        });
        assert_eq!(found, format!("no {} cut", which.name()));
    }
    for which in [Kind::Random, Kind::Torn] {
        let found = kind(which, |found| found.differ = 0);
        assert!(found.contains("0 left what no strict one does"), "{found}");
    }
    for which in [Kind::Strict, Kind::Random] {
        assert!(kind(which, |found| found.rescued = 1).contains("took a rescue"));
    }
    assert_eq!(kind(Kind::Torn, |found| found.rescued = 2), "");
    let elsewhere = wrong(Scenario::Flushes, |run| {
        run.filesystem = "vfat".to_owned();
        run.kinds.get_mut(&Kind::Torn).unwrap().rescued = 1;
    });
    assert!(elsewhere.contains("1 of 20 torn cuts took a rescue, more than 0"));
    assert!(kind(Kind::Torn, |found| found.rescued = found.cuts).contains("took a rescue"));
}

#[test]
fn steps_that_are_not_there_fail() {
    for scenario in Scenario::ALL {
        for which in 0..scenario.styles(true).len() {
            let name = scenario.styles(true)[which].name();
            let found = wrong(scenario, |run| {
                run.styles.remove(which);
            });
            assert!(
                found.contains(&format!("no step of the style {name}")),
                "{found}"
            );
            let found = wrong(scenario, |run| run.styles[which].acked = 1);
            assert!(
                found.contains(&format!("{name}: 1 acknowledgements, not")),
                "{found}"
            );
        }
    }
    let found = wrong(Scenario::FullDisk, |run| {
        run.styles.extend(good(Scenario::Controls).styles)
    });
    assert!(found.contains("does not know the style nothing"), "{found}");
    assert_eq!(
        wrong(Scenario::FullDisk, |run| run.full = false),
        "the disk was never full"
    );
    let says =
        |change: fn(&mut Vec<String>)| wrong(Scenario::BadBlock, |run| change(&mut run.says));
    assert_eq!(says(Vec::clear), "no flush failed; no retry");
    let forgotten = says(|says| says[1] = "1 flush again: Ok".to_owned());
    assert_eq!(forgotten, "the failure was forgotten");
}

fn failures(asked: Option<Asked>, outcomes: Vec<Outcome>) -> Vec<String> {
    let mut report = Report::new(expected(), asked);
    for outcome in outcomes {
        report.add(outcome);
    }
    assert_eq!(report.is_good(), report.failures().is_empty());
    report.failures()
}

#[test]
fn all_that_was_asked_for_is_there() {
    let asked = |scenarios: &[Scenario], cuts, images| {
        let run = |scenario: &Scenario| ("armv7".to_owned(), "ext4".to_owned(), *scenario);
        Some(Asked {
            runs: scenarios.iter().map(run).collect(),
            cuts,
            images,
        })
    };
    let flushes = || vec![good(Scenario::Flushes)];
    assert_eq!(
        failures(asked(&[Scenario::Flushes], 60, 54), flushes()),
        [""; 0]
    );
    for (asked, text) in [
        (asked(&[], 61, 0), "60 cuts of flushes, not 61"),
        (asked(&[], 0, 55), "54 different images of flushes, not 55"),
        (
            asked(&[Scenario::Controls], 0, 0),
            "armv7 ext4 controls: was not run",
        ),
    ] {
        assert_eq!(failures(asked, flushes()), [text]);
    }
    assert_eq!(
        failures(asked(&[], 0, 0), Vec::new()).len(),
        1,
        "nothing was run"
    );
    assert_eq!(failures(None, Vec::new()).len(), 1);
    // The controls do not count as cuts of flushes.
    let all = vec![good(Scenario::Controls), good(Scenario::NoBarrier)];
    assert_eq!(failures(asked(&[], 1, 0), all).len(), 1);
    let mut report = Report::new(expected(), asked(&[], 0, 0));
    report.add(good(Scenario::Flushes));
    report.fail("the guest ended".to_owned());
    assert!(!report.is_good() && report.markdown().contains("the guest ended"));
}

#[test]
fn of_one_cut_nothing_is_asked_but_that_it_loses_nothing() {
    let one = |change: fn(&mut Outcome)| {
        let mut outcome = good(Scenario::Flushes);
        outcome.kinds.remove(&Kind::Torn);
        change(&mut outcome);
        failures(None, vec![outcome]).len()
    };
    assert_eq!(one(|_| {}), 0);
    assert_eq!(
        one(|run| run.styles[2].lost = BTreeMap::from([(Kind::Random, 1)])),
        1
    );
    assert_eq!(
        one(|run| run.kinds.get_mut(&Kind::Random).unwrap().unreadable = 1),
        1
    );
}

/// At the edge of what expected.toml asks for, and one past it.
#[test]
fn the_bars_are_where_they_should_be() {
    let acked = |scenario, least| {
        assert_eq!(wrong(scenario, |run| run.styles[0].acked = least), "");
        assert!(
            wrong(scenario, |run| run.styles[0].acked = least - 1).contains("acknowledgements")
        );
    };
    acked(Scenario::Flushes, 8);
    acked(Scenario::Controls, 8);
    acked(Scenario::NoBarrier, 8);
    acked(Scenario::FullDisk, 5);
    acked(Scenario::BadBlock, 5);
    let kind = |which: Kind, filesystem: &str, change: &dyn Fn(&mut OutcomeOfKind)| {
        wrong(Scenario::Flushes, |run| {
            run.filesystem = filesystem.to_owned();
            let kind = run.kinds.get_mut(&which).unwrap();
            *kind = OutcomeOfKind {
                cuts: 100,
                images: 100,
                differ: if which == Kind::Strict { 0 } else { 100 },
                ..OutcomeOfKind::default()
            };
            change(kind);
        })
    };
    for (which, least, differ) in [
        (Kind::Strict, 50, 0),
        (Kind::Random, 30, 15),
        (Kind::Torn, 50, 25),
    ] {
        assert_eq!(kind(which, "ext4", &|kind| kind.images = least), "");
        assert!(kind(which, "ext4", &|kind| kind.images = least - 1).contains("different images"));
        assert_eq!(kind(which, "ext4", &|kind| kind.differ = differ), "");
        if which != Kind::Strict {
            let found = kind(which, "ext4", &|kind| kind.differ = differ - 1);
            assert!(found.contains("no strict one does"), "{found}");
        }
    }
    for (filesystem, most) in [
        ("ext4", 25),
        ("ext4-journal", 75),
        ("ext4-writeback", 25),
        ("f2fs", 0),
    ] {
        assert_eq!(
            kind(Kind::Torn, filesystem, &|kind| kind.rescued = most),
            ""
        );
        let found = kind(Kind::Torn, filesystem, &|kind| kind.rescued = most + 1);
        assert!(found.contains("took a rescue"), "{found}");
    }
    for filesystem in ["ext4", "ext4-writeback", "vfat"] {
        for (style, other) in [
            (Style::Whole, Kind::Random),
            (Style::Together, Kind::Strict),
        ] {
            for clear in [true, false] {
                let found = wrong(Scenario::Controls, |run| {
                    run.filesystem = filesystem.to_owned();
                    let is = |found: &&mut OutcomeOfStyle| found.style == style;
                    let found = run.styles.iter_mut().find(is).unwrap();
                    match clear {
                        true => found.lost.clear(),
                        false => {
                            found.lost =
                                BTreeMap::from([(Kind::Torn, 1), (Kind::Random, 1), (other, 1)])
                        }
                    }
                });
                let text = if clear {
                    "lost nothing by"
                } else {
                    "which cannot be"
                };
                assert!(found.contains(text), "{filesystem} {style:?}: {found}");
            }
        }
    }
}
