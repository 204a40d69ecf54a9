def test_smoke(shop):
    shop.land_quiet_days(1, 6)
    done = shop.refresh(5)
    print(done)
    print(shop.rows("from raw.orders"), shop.rows("from gold.customer_features"))
    done = shop.refresh(6)
    print(done)
    print(shop.published("from predictions.churn_90d"))
def test_smoke2(shop):
    shop.land_quiet_days(1, 6)
    print(shop.take_in(5), shop.take_in(6))
