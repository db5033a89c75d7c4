//go:build !race

package testkit

const raceCost = 1
