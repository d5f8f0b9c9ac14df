package issuer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A deadline is what context.WithDeadline would have given, whenever it is asked.
func TestDeadlineIsAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		passes, ends, given := within(parent, time.Minute), within(parent, time.Minute), within(parent, time.Hour)
		child, stop := context.WithCancel(passes)
		defer stop()
		if at, ok := passes.Deadline(); !ok || time.Until(at) != time.Minute || passes.Value(key{}) != "value" ||
			passes.Err() != nil {
			t.Errorf("at first: %v, %v, %v", at, passes.Value(key{}), passes.Err())
		}
		ends.end()
		if err := ends.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("when the call is over: %v", err)
		}
		<-ends.Done()
		<-child.Done()
		if err := child.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when its time is over: %v", err)
		}
		asked := within(parent, 0)
		if err := asked.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asked before anybody waited: %v", err)
		}
		cancel()
		<-given.Done()
		if err := given.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("when the client is gone: %v", err)
		}
	})
}

type key struct{}
