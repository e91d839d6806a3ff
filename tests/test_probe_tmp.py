import secrets
from tests.integration.test_bad_input import *

@pytest.mark.parametrize("less", [330, 400, 460, 520, 600])
def test_baggage(lane, less):
    r = lane.request()
    s = Sender(lane)
    raw = whole(lambda _: r)(lane)
    try:
        s.send("checkout.requested", Raw(raw.key, raw.value, [("traceparent", b"00-"+b"a"*32+b"-"+b"b"*16+b"-01"), ("baggage", secrets.token_bytes(4*1024*1024-less))]))
        s.place()
    except BaseException as e:
        print(less, "refused", e); return
    try:
        wait_for(lambda: lane.status("checkout", r.checkout_id) == "captured" and lane.at_rest(), "x", 5)
        print(less, "ok")
    except AssertionError:
        print(less, lane.status("checkout", r.checkout_id), lane.rows("checkout", "select topic from outbox"), lane.rows("warehouse", "select topic from outbox"), lane.rows("payment", "select topic from outbox"))
        for svc in SERVICES: print([l for l in lane.fleet.log(svc).read_text().splitlines() if "refuses" in l][:1])

def grep(lane, word):
    lane.await_rest(limit_s=10)
    found = []
    for svc in SERVICES:
        for (t,) in lane.rows(svc, "select table_name from information_schema.tables where table_schema='public'"):
            n = lane.rows(svc, f"select count(*) from {t} x where strpos(x::text, '{word}') > 0 or strpos(x::text, '{word.encode().hex()}') > 0")[0][0]
            if n: found.append((svc, t, n))
    for m in lane.messages(*topics(), *[dead_letter_topic(s) for s in SERVICES]):
        if word.encode() in (m.value() or b"") : found.append(m.topic())
        if any(word.encode() in (v or b"") for n, v in pairs(m)): found.append((m.topic(), "header"))
    for f in lane.folder.rglob("*"):
        if f.is_file() and word.encode() in f.read_bytes(): found.append(f.name)
    return found

@pytest.mark.parametrize("how", ["method", "customer", "sku", "currency", "reason", "key", "id", "acceptedid", "cancelfirst"])
def test_card(lane, how):
    word = {"method":"4242424242424242","customer":"5555555555554444","sku":"4000056655665556","currency":"5200828282828210","reason":"378282246310005","key":"6011111111111117","id":"3056930009020004", "acceptedid":"6555900000604105", "cancelfirst": "4000002500003155"}[how]
    s = Sender(lane)
    if how == "reason":
        r = lane.request(method="slow"); lane.publish(r); lane.await_status("payment", r.checkout_id, "authorizing")
        lane.publish(ev.CheckoutCancelRequested(checkout_id=r.checkout_id, reason=f"my card {word} is lost"))
        lane.await_status("checkout", r.checkout_id, "compensated")
    elif how == "cancelfirst":
        r = lane.request(); lane.publish(ev.CheckoutCancelRequested(checkout_id=r.checkout_id, reason=f"my card {word} is lost")); lane.await_status("checkout", r.checkout_id, "cancelled_first")
    elif how == "key":
        raw = whole(lambda _: lane.request("k-1"))(lane); s.send("checkout.requested", Raw(word.encode(), raw.value)); pl=s.place(); await_letters(lane, pl, ("checkout",))
    elif how == "id":
        lane.publish(ev.PaymentVoided(checkout_id=word, outcome="x", amount_minor=0)); wait_for(lambda: any(m.key()==word.encode() for m in lane.letters("checkout")), "l")
    else:
        r = lane.request(**{"method": {"payment_method_id": word}, "customer": {"customer_id": word}, "sku": {"sku": word}, "currency": {"currency": word}, "acceptedid": {"checkout_id": word}}[how])
        lane.publish(r); lane.await_status("checkout", r.checkout_id, "failed", "compensated", "captured")
    print(how, grep(lane, word))
