"""Which node is tried next."""

from collections import Counter
from socket import AF_INET, AF_INET6, SOCK_STREAM

from bridge.mqtt.nodes import Nodes
from bridge.mqtt.settings import BrokerSettings
from bridge.mqtt.transport import Address

CLUSTER = BrokerSettings(scheme="mqtts", host="a", others=(("b", 8884), ("c", None)), user="u")


def record(ip: str) -> Address:
    return (AF_INET6 if ":" in ip else AF_INET, SOCK_STREAM, 6, "", (ip, 1883))


def attempt(nodes: Nodes, *ips: str) -> str:
    """The record that is tried first of those that the name has; it takes the connection, and fails then."""
    first = nodes.arrange([record(ip) for ip in ips])[0]
    nodes.reached(first)
    address = nodes.address
    nodes.go_on()
    return address


def test_each_failure_leads_to_the_next_node_and_round() -> None:
    nodes = Nodes(CLUSTER, "host1")
    tried = [attempt(nodes, "10.0.0.1") for _ in range(6)]
    assert sorted(tried[:3]) == ["mqtts://a:8883", "mqtts://b:8884", "mqtts://c:8883"]
    assert tried[3:] == tried[:3]
    assert nodes.current.user == "u"
    assert len(nodes) == 3


def test_a_fleet_spreads_and_each_client_keeps_its_order() -> None:
    first = Counter(Nodes(CLUSTER, f"host{number}").address for number in range(3000))
    assert all(900 < count < 1100 for count in first.values()), first
    assert [attempt(Nodes(CLUSTER, "host1"), "10.0.0.1") for _ in range(2)].count(
        Nodes(CLUSTER, "host1").address
    ) == 2


def test_a_node_more_moves_only_those_that_go_to_it() -> None:
    more = BrokerSettings(scheme="mqtts", host="a", others=(("b", 8884), ("c", None), ("d", None)))
    for number in range(200):
        before, after = Nodes(CLUSTER, f"host{number}").address, Nodes(more, f"host{number}").address
        assert after in (before, "mqtts://d:8883")


def test_the_records_of_one_name_are_nodes_too() -> None:
    nodes = Nodes(BrokerSettings(host="name"), "host1")
    ips = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    tried = [attempt(nodes, *ips) for _ in range(6)]
    assert sorted(tried[:3]) == [f"mqtt://name:1883 ({ip})" for ip in ips]
    assert tried[3:] == tried[:3]
    assert nodes.several
    first = Counter(attempt(Nodes(BrokerSettings(host="name"), f"h{n}"), *ips) for n in range(300))
    assert len(first) == 3


def test_what_tcp_did_not_reach_is_not_tried_again_before_the_next_name() -> None:
    nodes = Nodes(CLUSTER, "host1")
    first = nodes.address
    nodes.arrange([record("10.0.0.1"), record("10.0.0.2")])
    nodes.go_on()
    assert nodes.address != first


def test_a_name_that_can_not_be_resolved_any_more_holds_up_no_other() -> None:
    nodes = Nodes(CLUSTER, "host1")
    first = nodes.address
    attempt(nodes, "10.0.0.1", "10.0.0.2")
    assert nodes.address == first, "its second record comes first"
    nodes.go_on()
    assert nodes.address != first


def test_a_name_keeps_the_order_of_the_families() -> None:
    records = [record("fd00::1"), record("10.0.0.1"), record("fd00::2"), record("10.0.0.2")]
    for number in range(20):
        families = [each[0] for each in Nodes(BrokerSettings(), str(number)).arrange(records)]
        assert families == [AF_INET6, AF_INET6, AF_INET, AF_INET]


def test_records_that_have_changed_are_begun_anew() -> None:
    nodes = Nodes(BrokerSettings(host="name"), "host1")
    attempt(nodes, "10.0.0.1", "10.0.0.2")
    assert attempt(nodes, "10.0.0.7") == "mqtt://name:1883"
