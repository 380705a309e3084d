/* A guest that needs no system: a firmware image whose reset vector runs this at once.
 *
 * It fills memory from 16 MiB to fill_end, then on each of a hundred timer ticks a second writes to
 * `pages` pages between 16 MiB and dirty_end, for ever. A byte on the first serial port makes it power
 * itself off by ACPI (PIIX4's PM1a control), as a guest does that shuts down.
 * The interrupt handler ends without iret: some KVM hosts have to emulate every instruction of
 * protected mode, and have no emulation for that one.
 *
 *   as --32 -o guest.o guest.S && ld -m elf_i386 -e 0 -Ttext 0 --oformat binary -o guest.rom guest.o
 * firmware.py holds the bytes; test_harness.py compares them where an assembler is there.
 */
.text
.code16
start:
  cli
  lgdtl %cs:gdtr
  mov %cr0,%eax
  or $1,%al
  mov %eax,%cr0
  ljmpl $8,$prot+0xffff0000
.code32
prot:
  mov $0x10,%ax
  mov %ax,%ds
  mov %ax,%es
  mov %ax,%ss
  mov $0x8000,%esp
  /* an interrupt gate for IRQ 0, the timer, at vector 0x20 */
  mov $isr+0x80000,%eax
  mov %eax,0x1100
  movl $0xffff8e00,0x1104
  lidtl idtr+0xffff0000
  /* the PIC: vectors from 0x20, all masked but the timer */
  mov $0x11,%al; outb %al,$0x20
  mov $0x20,%al; outb %al,$0x21
  mov $0x04,%al; outb %al,$0x21
  mov $0x01,%al; outb %al,$0x21
  mov $0xfe,%al; outb %al,$0x21
  mov $0xff,%al; outb %al,$0xa1
  /* the local APIC lets the PIC's interrupts through */
  movl $0x1ff,0xfee000f0
  movl $0x8700,0xfee00350
  /* the timer: 100 Hz */
  mov $0x34,%al; outb %al,$0x43
  mov $0x9c,%al; outb %al,$0x40
  mov $0x2e,%al; outb %al,$0x40
  mov $0x1000000,%edi
fill:
  cmp fill_end+0xffff0000,%edi
  jae filled
  mov %edi,(%edi)
  add $0x1000,%edi
  jmp fill
filled:
  mov $0x1000000,%edi
  sti
tick:
  hlt
awake:
  mov pages+0xffff0000,%ecx
  jecxz poll
dirty:
  incl (%edi)
  add $0x1000,%edi
  cmp dirty_end+0xffff0000,%edi
  jb next
  mov $0x1000000,%edi
next:
  loop dirty
poll:  /* a byte came? then power off */
  mov $0x3fd,%edx
  inb %dx,%al
  test $1,%al
  jz tick
  mov $0xcf8,%edx
  mov $0x80000b40,%eax
  outl %eax,%dx
  mov $0xcfc,%edx
  mov $0x601,%eax
  outl %eax,%dx
  mov $0xcf8,%edx
  mov $0x80000b80,%eax
  outl %eax,%dx
  mov $0xcfc,%edx
  mov $1,%al
  outb %al,%dx
  mov $0x604,%edx
  mov $0x2000,%ax
  outw %ax,%dx
  jmp tick
isr:
  mov $0x20,%al
  outb %al,$0x20
  add $12,%esp
  sti
  jmp awake
.p2align 3
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23; .long gdt+0xffff0000
idtr: .word 0x1ff; .long 0x1000
.p2align 2
fill_end: .long 0x3000000
dirty_end: .long 0x1400000
pages: .long 16
.org 0xfff0
.code16
  jmp start
.org 0x10000
