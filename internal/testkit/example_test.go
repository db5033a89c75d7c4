package testkit_test

import (
	"fmt"
	"time"

	"raftlab/internal/testkit"
)

// Eventually waits for a condition, and sleeps no longer than necessary.
func ExampleEventually() {
	ready := time.Now().Add(5 * time.Millisecond)
	fmt.Println(testkit.Eventually(time.Minute, func() bool { return time.Now().After(ready) }))
	fmt.Println(testkit.Eventually(time.Millisecond, func() bool { return false }))
	// Output:
	// true
	// false
}
