package mini

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLossy sends messages over a network that loses some, and takes part in
// recording and editing of faults. It fails if the messages 5 and 6 are both lost.
func TestLossy(t *testing.T) {
	calm := ""
	var met *os.File
	if dir := os.Getenv("RAFTLAB_FAULTS"); dir != "" {
		data, _ := os.ReadFile(filepath.Join(dir, "calm"))
		calm = "\n" + string(data)
		met, _ = os.Create(filepath.Join(dir, "met"))
		defer met.Close()
	}
	lost := map[int]bool{}
	for n := range 60 {
		name := fmt.Sprintf("1 0 %d request", n)
		if rand.Intn(100) < 30 && !strings.Contains(calm, "\n"+name+"\n") {
			lost[n] = true
			if met != nil {
				fmt.Fprintf(met, "%s lost\n", name)
			}
		}
	}
	if lost[5] && lost[6] {
		t.Fatal("two lost in a row")
	}
}
