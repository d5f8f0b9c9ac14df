package proxy

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test does, nothing of it goes on when its gate, its server and its app are closed.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
