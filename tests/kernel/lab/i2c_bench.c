// SPDX-License-Identifier: GPL-2.0
/*
 * An I2C bus for tests, with expanders at 0x20 and 0x21 that are like a PCA9554 or an XRA1200P.
 *
 * The controller is like the Raspberry Pi's: of combined transfers it can do a write and a read only. Any other
 * ends in EIO, although its first message has taken effect.
 *
 * Under /sys/kernel/debug/i2c-bench:
 *   combines     1: the controller can do all combined transfers
 *   fail_count   this many transfers fail (negative: all)   fail_skip  after this many that do not
 *   fail_errno   with this errno                            fail_late  1: the chip obeys all the same
 *   delay_us     each transfer takes this long              transfers  how many there have been
 *   log          a line for each message and for each change at the pins, with its time, oldest first; a write
 *                empties it
 *   20/, 21/     output, polarity, direction, pull_ups: the registers
 *                external: what drives the pins that are inputs
 *                floating: pins that nothing drives; as inputs they show their pull-up
 *                pins: the levels, as a meter shows them     present: 0 takes the chip off the bus
 *                xra1200p: 1: register 04 switches the pull-ups; 0: there is none, and all are on
 *                power_cycle: a write of N cuts the power just before the N-th transfer from now (0: now)
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/i2c.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>

enum { INPUT, OUTPUT, POLARITY, DIRECTION, PULL_UPS, REGISTERS };

struct expander {
	u16 address;
	u8 reg[REGISTERS];
	u8 pointer, external, floating, seen;
	bool present, xra1200p;
	int cut_in; /* transfers until the power is cut; negative: never */
};

static struct expander expanders[] = { { .address = 0x20 }, { .address = 0x21 } };

static atomic_t fail_count, fail_skip, transfers;
static u32 fail_errno = EREMOTEIO, delay_us;
static bool fail_late, combines;

#define ENTRIES 16384
static struct entry {
	s64 at; /* microseconds since the boot */
	u16 address;
	char kind; /* w, r: a message of length bytes; p: the pins' levels; x: power cut */
	u8 length, data[4];
	s16 result;
} entries[ENTRIES];
static unsigned int logged;

static DEFINE_MUTEX(bench);
static struct dentry *folder;

static void note(const struct expander *chip, char kind, const u8 *data, size_t length, int result)
{
	struct entry *entry = &entries[logged++ % ENTRIES];

	entry->at = ktime_to_us(ktime_get_boottime());
	entry->address = chip->address;
	entry->kind = kind;
	entry->length = length;
	memcpy(entry->data, data, min(length, sizeof(entry->data)));
	entry->result = result;
}

static u8 pins(const struct expander *chip)
{
	u8 undriven = (chip->external & ~chip->floating) | (chip->reg[PULL_UPS] & chip->floating);

	return (chip->reg[OUTPUT] & ~chip->reg[DIRECTION]) | (undriven & chip->reg[DIRECTION]);
}

static void note_pins(struct expander *chip)
{
	u8 now = pins(chip);

	if (now != chip->seen)
		note(chip, 'p', &now, 1, 0);
	chip->seen = now;
}

static void power_up(struct expander *chip)
{
	chip->reg[OUTPUT] = 0xff;
	chip->reg[POLARITY] = 0x00;
	chip->reg[DIRECTION] = 0xff;
	chip->reg[PULL_UPS] = 0xff;
	chip->pointer = 0;
	chip->cut_in = -1;
}

static void power_cycle(struct expander *chip)
{
	power_up(chip);
	note(chip, 'x', NULL, 0, 0);
	note_pins(chip);
}

static int obey(struct expander *chip, struct i2c_msg *msg)
{
	int i;

	for (i = 0; i < msg->len; i++) {
		if (msg->flags & I2C_M_RD) {
			msg->buf[i] = chip->pointer == INPUT ? pins(chip) ^ chip->reg[POLARITY] :
							       chip->reg[chip->pointer];
		} else if (i == 0) {
			if (msg->buf[0] >= (chip->xra1200p ? REGISTERS : PULL_UPS))
				return -EREMOTEIO;
			chip->pointer = msg->buf[0];
		} else if (chip->pointer != INPUT) {
			chip->reg[chip->pointer] = msg->buf[i];
			note_pins(chip);
		}
	}
	return 0;
}

static struct expander *find(u16 address)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(expanders); i++)
		if (expanders[i].address == address && expanders[i].present)
			return &expanders[i];
	return NULL;
}

static int fault(void)
{
	if (!atomic_read(&fail_count))
		return 0;
	if (atomic_read(&fail_skip) > 0) {
		atomic_dec(&fail_skip);
		return 0;
	}
	if (atomic_read(&fail_count) > 0)
		atomic_dec(&fail_count);
	return -(int)fail_errno;
}

static bool is_pair(const struct i2c_msg *msgs, int count)
{
	return count == 2 && !(msgs[0].flags & I2C_M_RD) && msgs[1].flags & I2C_M_RD;
}

static int transfer(struct i2c_adapter *adapter, struct i2c_msg *msgs, int count)
{
	bool able = combines || count == 1 || is_pair(msgs, count);
	int i, failed, result = 0;

	if (delay_us)
		usleep_range(delay_us, delay_us + 1);
	mutex_lock(&bench);
	atomic_inc(&transfers);
	for (i = 0; i < ARRAY_SIZE(expanders); i++) {
		struct expander *chip = &expanders[i];

		if (chip->cut_in > 0 && --chip->cut_in == 0)
			power_cycle(chip);
	}
	failed = fault();
	for (i = 0; i < (able ? count : 1) && !result; i++) {
		struct expander *chip = find(msgs[i].addr);

		if (!chip) {
			result = -EREMOTEIO;
		} else if (failed && !fail_late) {
			result = failed;
			note(chip, msgs[i].flags & I2C_M_RD ? 'r' : 'w', msgs[i].buf, msgs[i].len, result);
		} else {
			result = obey(chip, &msgs[i]);
			note(chip, msgs[i].flags & I2C_M_RD ? 'r' : 'w', msgs[i].buf, msgs[i].len, result ?: failed);
		}
	}
	mutex_unlock(&bench);
	return result ?: failed ?: able ? count : -EIO;
}

static u32 functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_I2C | I2C_FUNC_SMBUS_EMUL;
}

static const struct i2c_algorithm algorithm = { .master_xfer = transfer, .functionality = functionality };

static struct i2c_adapter adapter = {
	.owner = THIS_MODULE,
	.algo = &algorithm,
	.name = "i2c-bench",
	.nr = 1,
};

static int log_show(struct seq_file *file, void *unused)
{
	unsigned int i;

	mutex_lock(&bench);
	for (i = logged > ENTRIES ? logged - ENTRIES : 0; i < logged; i++) {
		const struct entry *entry = &entries[i % ENTRIES];

		seq_printf(file, "%lld %02x %c %d %*phN\n", entry->at, entry->address, entry->kind, entry->result,
			   (int)min_t(size_t, entry->length, sizeof(entry->data)), entry->data);
	}
	mutex_unlock(&bench);
	return 0;
}

static int log_open(struct inode *inode, struct file *file)
{
	return single_open(file, log_show, NULL);
}

static ssize_t log_clear(struct file *file, const char __user *text, size_t size, loff_t *at)
{
	mutex_lock(&bench);
	logged = 0;
	mutex_unlock(&bench);
	return size;
}

static const struct file_operations log_operations = {
	.owner = THIS_MODULE,
	.open = log_open,
	.read = seq_read,
	.write = log_clear,
	.llseek = seq_lseek,
	.release = single_release,
};

static int pins_get(void *chip, u64 *value)
{
	*value = pins(chip);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(pins_operations, pins_get, NULL, "0x%02llx\n");

static int power_cycle_set(void *data, u64 transfers_from_now)
{
	struct expander *chip = data;

	mutex_lock(&bench);
	if (transfers_from_now)
		chip->cut_in = transfers_from_now;
	else
		power_cycle(chip);
	mutex_unlock(&bench);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(power_cycle_operations, NULL, power_cycle_set, "%llu\n");

static void show_expander(struct expander *chip)
{
	char name[3];
	struct dentry *at;

	snprintf(name, sizeof(name), "%02x", chip->address);
	at = debugfs_create_dir(name, folder);
	debugfs_create_x8("output", 0600, at, &chip->reg[OUTPUT]);
	debugfs_create_x8("polarity", 0600, at, &chip->reg[POLARITY]);
	debugfs_create_x8("direction", 0600, at, &chip->reg[DIRECTION]);
	debugfs_create_x8("pull_ups", 0600, at, &chip->reg[PULL_UPS]);
	debugfs_create_x8("external", 0600, at, &chip->external);
	debugfs_create_x8("floating", 0600, at, &chip->floating);
	debugfs_create_bool("present", 0600, at, &chip->present);
	debugfs_create_bool("xra1200p", 0600, at, &chip->xra1200p);
	debugfs_create_file_unsafe("pins", 0400, at, chip, &pins_operations);
	debugfs_create_file_unsafe("power_cycle", 0200, at, chip, &power_cycle_operations);
}

static int __init bench_init(void)
{
	int i, error = i2c_add_numbered_adapter(&adapter);

	if (error)
		return error;
	folder = debugfs_create_dir("i2c-bench", NULL);
	debugfs_create_atomic_t("fail_count", 0600, folder, &fail_count);
	debugfs_create_atomic_t("fail_skip", 0600, folder, &fail_skip);
	debugfs_create_atomic_t("transfers", 0600, folder, &transfers);
	debugfs_create_u32("fail_errno", 0600, folder, &fail_errno);
	debugfs_create_bool("fail_late", 0600, folder, &fail_late);
	debugfs_create_bool("combines", 0600, folder, &combines);
	debugfs_create_u32("delay_us", 0600, folder, &delay_us);
	debugfs_create_file("log", 0600, folder, NULL, &log_operations);
	for (i = 0; i < ARRAY_SIZE(expanders); i++) {
		expanders[i].present = true;
		power_up(&expanders[i]);
		expanders[i].seen = pins(&expanders[i]);
		show_expander(&expanders[i]);
	}
	return 0;
}

static void __exit bench_exit(void)
{
	debugfs_remove(folder);
	i2c_del_adapter(&adapter);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("I2C bus with expanders, for tests");
