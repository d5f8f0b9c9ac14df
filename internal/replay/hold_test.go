package replay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHoldWaitsForItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		began := time.Now()
		if waited, err := h.Until(t.Context(), began.UnixMilli(), began.UnixMilli()); waited || err != nil {
			t.Errorf("made now: %t %v", waited, err)
		}
		waited, err := h.Until(t.Context(), began.Add(4*time.Second).UnixMilli(), began.UnixMilli())
		if !waited || err != nil || time.Since(began) != 4*time.Second || h.Held() != 0 {
			t.Errorf("made 4s ahead: %t %v after %v, %d held", waited, err, time.Since(began), h.Held())
		}
	})
}

func TestHoldIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		var all sync.WaitGroup
		now := time.Now().UnixMilli()
		for range mostHeld {
			all.Go(func() {
				if _, err := h.Until(t.Context(), now+5000, now); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if h.Held() != mostHeld {
			t.Errorf("%d held", h.Held())
		}
		if _, err := h.Until(t.Context(), now+5000, now); !errors.Is(err, ErrHeldFull) {
			t.Errorf("one more: %v", err)
		}
		all.Wait()
		if waited, err := h.Until(t.Context(), now+5001, now+5000); !waited || err != nil {
			t.Errorf("after the others: %t %v", waited, err)
		}
	})
}

func TestHoldEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		now := time.Now().UnixMilli()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Until(ctx, now+2000, now); !errors.Is(err, ErrHeldLong) || time.Now().UnixMilli() != now {
			t.Errorf("longer than the request may take: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if _, err := h.Until(gone, now+5000, now); !errors.Is(err, context.Canceled) || h.Held() != 0 {
			t.Errorf("a client that is gone: %v, %d held", err, h.Held())
		}
	})
}
