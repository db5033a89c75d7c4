// Package schedules holds thirty planted bugs that only some schedules show.
// The comment of each test names the order of steps that fails. Each test has a
// twin whose name ends in Fixed, and which no schedule fails.
package schedules
