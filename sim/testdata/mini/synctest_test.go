package mini

import (
	"fmt"
	"math/rand"
	"testing"
	"testing/synctest"
	"time"
)

// TestBubble runs in a bubble inside the simulated world.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan int)
		for i := range 10 {
			go func() { time.Sleep(time.Duration(rand.Intn(5)) * time.Second); ch <- i }()
		}
		for range 10 {
			fmt.Print(<-ch, " ")
		}
		fmt.Println(time.Now())
	})
}

// TestBubbleDeadlock waits in a bubble for what never comes.
func TestBubbleDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { <-make(chan int) })
}

// TestEndlessBubble never ends.
func TestEndlessBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for {
			time.Sleep(time.Second)
		}
	})
}
