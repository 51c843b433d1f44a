package secrets

import (
	"testing"
	"time"
)

func TestJitter(t *testing.T) {
	least, most := 2*time.Hour, time.Duration(0)
	for range 1000 {
		d := Jitter(time.Hour, 0.2)
		least, most = min(least, d), max(most, d)
	}
	if least < 48*time.Minute || most > 72*time.Minute || least > 50*time.Minute || most < 70*time.Minute {
		t.Errorf("an hour by a fifth is %v to %v", least, most)
	}
	if d := Jitter(0, 0.1); d != 0 {
		t.Errorf("nothing is %v", d)
	}
}
