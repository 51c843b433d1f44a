package recent

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		if w := r.Window(); w.Logins != 0 || w.P50 != 0 || len(w.Slots) != Slots || w.Slots[Slots-1].Sessions != -1 {
			t.Errorf("of nothing: %+v", w)
		}
		for range 99 {
			r.Login(2 * time.Millisecond)
		}
		r.Login(time.Second)
		r.Sessions(7)
		r.Sessions(3)
		time.Sleep(25 * time.Second)
		at := time.Now()
		r.Rotated()
		r.Failure()
		r.Login(time.Second)
		w := r.Window()
		if w.Seconds != 25 || w.Logins != 101 || w.MostPerSecond != 10 || w.MostSessions != 7 || w.Failures != 1 {
			t.Errorf("%+v", w)
		}
		near(t, w.P50, 0.002)
		near(t, w.P99, 1)
		if !slices.Equal(w.Rotations, []time.Time{at.Round(0)}) || !slices.Equal(w.Marks, []float64{Slots - 3 + 2.5}) {
			t.Errorf("rotations %v at %v", w.Rotations, w.Marks)
		}
		first, middle, last := w.Slots[Slots-3], w.Slots[Slots-2], w.Slots[Slots-1]
		near(t, first.P50.Seconds(), 0.002)
		near(t, first.P99.Seconds(), 0.002)
		near(t, last.P50.Seconds(), 1)
		if first.Logins != 100 || first.Sessions != 7 || middle != (Slot{Seen: true, Sessions: -1}) || w.Slots[Slots-4].Seen || last.Failures != 1 || last.Sessions != -1 {
			t.Errorf("%+v %+v %+v", first, middle, last)
		}

		time.Sleep(Slots*SlotTime - 25*time.Second) // the first slot is just over
		if w := r.Window(); w.Logins != 1 || w.Seconds != 900 || w.Marks[0] != 1.5 {
			t.Errorf("%+v", w)
		}
		time.Sleep(24 * time.Hour)
		r.Failure()
		if w := r.Window(); w.Logins != 0 || w.Failures != 1 || len(w.Rotations) != 0 || w.MostSessions != 0 {
			t.Errorf("%+v", w)
		}
	})
}

func near(t *testing.T, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want/8+1e-9 {
		t.Errorf("%v, want about %v", got, want)
	}
}

func TestHistogramIsExactToAnEighth(t *testing.T) {
	for took := shortest; took < 2*time.Minute; took += took / 31 {
		var h histogram
		h.add(took)
		near(t, h.quantile(0.5).Seconds(), took.Seconds())
	}
	var h histogram
	h.add(-time.Second)
	h.add(time.Hour)
	if h.quantile(0.5) > 2*shortest || h.quantile(1) < time.Minute {
		t.Error(h.quantile(0.5), h.quantile(1))
	}
}

func TestAddingAllocatesNothing(t *testing.T) {
	r := New()
	if n := testing.AllocsPerRun(100, func() {
		r.Login(time.Millisecond)
		r.Failure()
		r.Sessions(1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
