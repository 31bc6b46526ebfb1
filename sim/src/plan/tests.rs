use super::generate::connected;
use super::*;

#[test]
fn same_seed_gives_the_same_plan_and_json_brings_it_back() {
    for seed in 0..50 {
        for profile in Profile::ALL {
            let plan = Plan::generate(profile, seed);
            assert_eq!(plan, Plan::generate(profile, seed), "seed {seed}");
            let json = serde_json::to_string(&plan).expect("a plan is plain data");
            let back: Plan = serde_json::from_str(&json).expect("what was written can be read");
            assert_eq!(plan, back, "seed {seed}");
        }
    }
}

#[test]
fn every_core_is_connected_and_smoke_keeps_its_size() {
    let mut cores = 0;
    for seed in 0..400 {
        let plan = Plan::generate(Profile::Smoke, seed);
        assert_eq!(plan.nodes.len(), 3, "seed {seed}");
        assert_eq!(plan.commands(), 80, "seed {seed}");
        let plan = Plan::generate(Profile::Active, seed);
        assert!(connected(&plan.nodes, &plan.core()), "seed {seed}");
        cores += usize::from(!plan.heals_all());
    }
    assert!(cores > 80, "{cores} of 400 leave part of the hosts in their fault");
}

#[test]
fn every_fault_class_and_shape_is_drawn() {
    let plans: Vec<Plan> = (0..300).map(|seed| Plan::generate(Profile::Active, seed)).collect();
    let with_logs = (0..300).map(|seed| Plan::generate(Profile::Durability, seed));
    let plans: Vec<Plan> = plans.into_iter().chain(with_logs).collect();
    for class in FaultClass::ALL {
        let drawn = plans.iter().any(|p| p.faults.iter().any(|f| f.kind.class() == class));
        assert!(drawn, "{}", class.name());
    }
    for shape in [Shape::Mesh, Shape::Ring, Shape::Chain, Shape::Star] {
        assert!(plans.iter().any(|p| p.shape == shape), "{shape:?}");
    }
    assert!(plans.iter().any(|p| p.nodes.iter().any(|n| n.replica)));
}
